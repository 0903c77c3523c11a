import { constants, openSync } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
import { requireUnheld } from "../../location/changes.ts";
import type { Store } from "../../location/store.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, fileKeyOf } from "../../system/files.ts";
import type { Holder } from "../../system/holders.ts";
import {
  detachLoopDevice,
  findLoopDevice,
  keepLoopDevice,
  type LoopDevice,
  openLoopDevice,
} from "../../system/loop.ts";
import type { Steps } from "../../system/steps.ts";
import type { BlockAccess, OpenBlockVolume } from "../backend.ts";
import { findLastingHolders, settleDevice } from "./holders.ts";

/** The devices of image files. */
export function blockAccess(store: Store): BlockAccess {
  const lock = (address: VolumeAddress) => lockVolume(store, address);
  return {
    async attach(address) {
      const volume = await lock(address);
      try {
        return await attachImage(store.steps, volume);
      } finally {
        volume.close();
      }
    },
    async detach(address) {
      const volume = await lock(address);
      try {
        await detachImage(store.steps, volume);
      } finally {
        volume.close();
      }
    },
    async look(address) {
      const volume = await lock(address);
      return { ...sessionOf(volume), device: findLoopDevice(fileKeyOf(volume.fd)) };
    },
    async open(address, readOnly) {
      const volume = await lock(address);
      try {
        return await openImage(store.steps, volume, readOnly);
      } catch (thrown) {
        volume.close();
        throw thrown;
      }
    },
  };
}

async function openImage(steps: Steps, volume: LockedVolume, readOnly: boolean): Promise<OpenBlockVolume> {
  const existing = await settleDevice(volume.fd);
  if (existing) return { ...sessionOf(volume), device: existing };
  const opened = await openDeviceOf(steps, volume, readOnly);
  const close = () => {
    opened.close();
    volume.close();
  };
  return { ...sessionOf(volume), device: opened.device, close };
}

function sessionOf(volume: LockedVolume): Omit<OpenBlockVolume, "device"> {
  return {
    record: volume.record,
    close: volume.close,
    settle: async () => void (await settleDevice(volume.fd)),
  };
}

async function attachImage(steps: Steps, volume: LockedVolume): Promise<string> {
  const existing = await settleDevice(volume.fd);
  if (existing) {
    requireAttachable(volume, existing);
    await keepLoopDevice(steps, existing);
    return existing.path;
  }
  const opened = await openDeviceOf(steps, volume, false);
  try {
    await keepLoopDevice(steps, opened.device);
    return opened.device.path;
  } finally {
    opened.close();
  }
}

/** A device that only mounts use can stay; one that stays is attached already. */
function requireAttachable(volume: LockedVolume, device: LoopDevice): void {
  if (device.autoclear && !device.readOnly) return;
  const message = device.autoclear
    ? `it is mounted read-only, so it has a read-only device, ${device.path}: unmount it first`
    : `it is attached already, as ${device.path}`;
  const holders: Holder[] = [{ kind: "device", device: device.path, attached: !device.autoclear }];
  const reason = device.autoclear ? "read-only" : "attached";
  throw new MosaicError("BUSY", message, { name: volume.record.name, reason, device: device.path, holders });
}

async function detachImage(steps: Steps, volume: LockedVolume): Promise<void> {
  const device = findLoopDevice(fileKeyOf(volume.fd));
  if (!device || device.autoclear) {
    const message = `it is not attached${device ? `: its device ${device.path} is there only for a mount` : ""}`;
    throw new MosaicError("NOT_FOUND", message, { name: volume.record.name, reason: "not-attached" });
  }
  requireUnheld(volume.record, await findLastingHolders(device));
  await detachLoopDevice(steps, device);
}

async function openDeviceOf(steps: Steps, volume: LockedVolume, readOnly: boolean) {
  const path = `/proc/self/fd/${volume.fd}`;
  const fd = calling("open", volume.path, () =>
    openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR),
  );
  try {
    return await openLoopDevice(steps, volume.path, fd, readOnly);
  } finally {
    closeFd(fd);
  }
}
