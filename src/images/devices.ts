import { MosaicError } from "../base/errors.ts";
import { requireUnheld } from "../location/changes.ts";
import { Deferred } from "../location/deferred.ts";
import type { VolumeRecord } from "../location/record.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../location/volumes.ts";
import type { Holder } from "../system/holders.ts";
import {
  detachLoopDevice,
  findLoopDevice,
  keepLoopDevice,
  type LoopDevice,
  openLoopDevice,
} from "../system/loop.ts";
import { findServer } from "../system/nbdserver.ts";
import type { BlockNode } from "../system/storagedaemon.ts";
import { requireNotStopped } from "./exports.ts";
import { findLastingHolders, settleDevice } from "./holders.ts";
import type { ImageStore } from "./images.ts";
import { closeServer, exportOf, openServer, requireNoServer } from "./servers.ts";

/** A locked volume and its device, until it is closed. */
export interface ImageSession<Device> {
  readonly record: VolumeRecord;
  readonly device: Device;
  /** Waits until the device is gone, when nothing uses it any more and nobody attached it. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

/** The devices of images. */
export function blockAccess(store: ImageStore) {
  const { images } = store;
  return {
    async attach(address: VolumeAddress, readOnly: boolean): Promise<string> {
      const accept = (volume: LockedVolume, device: LoopDevice) =>
        requireAttachable(volume, device, readOnly);
      const session = await openImage(store, address, readOnly, accept);
      try {
        await keepLoopDevice(store.steps, session.device);
        return session.device.path;
      } finally {
        await session.close();
      }
    },
    async detach(address: VolumeAddress): Promise<void> {
      const volume = await lockImage(store, address);
      try {
        await detachImage(store, volume);
      } finally {
        volume.close();
      }
    },
    async look(address: VolumeAddress): Promise<ImageSession<LoopDevice | undefined>> {
      const volume = await lockImage(store, address);
      return { ...sessionOf(store, volume), device: findLoopDevice(images.keyOf(volume)) };
    },
    open: (address: VolumeAddress, readOnly: boolean) => openImage(store, address, readOnly),
    ...(images.node && {
      serve: (address: VolumeAddress, readOnly: boolean) => serveImage(store, address, readOnly),
    }),
  };
}

/** Gives the volume with its device; where `accept` is given it is asked whether a device that is there already will do. */
async function openImage(
  store: ImageStore,
  address: VolumeAddress,
  readOnly: boolean,
  accept: (volume: LockedVolume, device: LoopDevice) => void = () => {},
): Promise<ImageSession<LoopDevice>> {
  const volume = await lockImage(store, address);
  const session = sessionOf(store, volume);
  try {
    requireNoServer(store, volume);
    const existing = await settleDevice(store.images.keyOf(volume));
    if (existing) accept(volume, existing);
    const raw = await store.images.open(volume, readOnly);
    try {
      if (existing) return { ...session, device: existing };
      const opened = await openLoopDevice(store.steps, raw.path, raw.fd, readOnly);
      const close = async () => {
        opened.close();
        await session.close();
      };
      return { ...session, device: opened.device, close };
    } finally {
      raw.close();
    }
  } catch (thrown) {
    await session.close();
    throw thrown;
  }
}

/** What uses the device of an image whose daemon is stopped would wait for ever. */
async function lockImage(store: ImageStore, address: VolumeAddress): Promise<LockedVolume> {
  const volume = await lockVolume(store, address);
  try {
    requireNotStopped(exportOf(store, volume.record.id));
    return volume;
  } catch (thrown) {
    volume.close();
    throw thrown;
  }
}

function sessionOf(store: ImageStore, volume: LockedVolume): Omit<ImageSession<never>, "device"> {
  const settle = () => releaseImage(store, volume);
  return {
    record: volume.record,
    settle,
    async close() {
      await using closing = new Deferred();
      closing.defer(async () => volume.close());
      // What is left here the next command ends.
      if (store.images.release && !store.steps.planning) closing.defer(settle);
    },
  };
}

/** Waits for a device that is going, and then ends what shows the image; what does not end is left to the next sweep. */
async function releaseImage({ images }: ImageStore, volume: LockedVolume): Promise<void> {
  if (await settleDevice(images.keyOf(volume))) return;
  await using ending = new Deferred();
  ending.defer(async () => images.release?.(volume));
}

/** Shows a volume that nothing uses at a socket; gives the URI. */
async function serveImage(store: ImageStore, address: VolumeAddress, readOnly: boolean): Promise<string> {
  const volume = await lockImage(store, address);
  try {
    requireNoServer(store, volume);
    const device = await settleDevice(store.images.keyOf(volume));
    if (device) throw inUseError(volume, device);
    const makeNode = async () => (await store.images.node?.(volume, readOnly)) as BlockNode;
    return await openServer(store.steps, exportOf(store, volume.record.id), makeNode);
  } finally {
    volume.close();
  }
}

/** A device that only mounts use can stay; one that stays is attached already. */
function requireAttachable(volume: LockedVolume, device: LoopDevice, readOnly: boolean): void {
  if (!device.autoclear || device.readOnly !== readOnly) throw inUseError(volume, device);
}

function inUseError({ record }: LockedVolume, { path, autoclear, readOnly }: LoopDevice): MosaicError {
  const way = readOnly ? "read-only" : "writable";
  const message = autoclear
    ? `it is mounted ${way}, so it has a ${way} device, ${path}: unmount it first`
    : `it is attached already, as ${path}`;
  const holders: Holder[] = [{ kind: "device", device: path, attached: !autoclear }];
  const reason = autoclear ? way : "attached";
  return new MosaicError("BUSY", message, { name: record.name, reason, device: path, readOnly, holders });
}

async function detachImage(store: ImageStore, volume: LockedVolume): Promise<void> {
  const directory = exportOf(store, volume.record.id);
  if (findServer(directory)) return closeServer(store.steps, directory);
  const device = findLoopDevice(store.images.keyOf(volume));
  if (!device || device.autoclear) {
    const message = `it is not attached${device ? `: its device ${device.path} is there only for a mount` : ""}`;
    throw new MosaicError("NOT_FOUND", message, { name: volume.record.name, reason: "not-attached" });
  }
  requireUnheld(volume.record, await findLastingHolders(device));
  await detachLoopDevice(store.steps, device);
  if (!store.steps.planning) await releaseImage(store, volume);
}
