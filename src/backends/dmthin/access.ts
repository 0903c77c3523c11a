import { MosaicError } from "../../base/errors.ts";
import { requireUnheld } from "../../location/changes.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { runDmsetup } from "../../system/dmsetup.ts";
import type { Holder } from "../../system/holders.ts";
import type { BlockAccess, BlockDevice, OpenBlockVolume } from "../backend.ts";
import {
  findLastingHolders,
  findThinDevice,
  keepDevice,
  nameOf,
  openThinDevice,
  settleDevice,
  toBlockDevice,
  waitUntilGone,
} from "./devices.ts";
import { requireReadable, requireWritable } from "./health.ts";
import { requireTie } from "./ledger.ts";
import { requireObject } from "./objects.ts";
import type { Pool } from "./pool.ts";
import type { ThinStore } from "./store.ts";

/** A locked volume with the thin device that it is. */
export interface ThinVolume extends LockedVolume {
  readonly pool: Pool;
  readonly thinId: number;
  readonly sizeBytes: number;
}

/** The devices of thin volumes. */
export function blockAccess(store: ThinStore): BlockAccess {
  return {
    attach: (address, readOnly) => using(store, address, (volume) => attachVolume(store, volume, readOnly)),
    detach: (address) => using(store, address, (volume) => detachVolume(store, volume)),
    async look(address) {
      const volume = await lockThin(store, address);
      const device = findThinDevice(volume.pool, volume.thinId);
      return { ...sessionOf(volume), device: device && toBlockDevice(device) };
    },
    async open(address, readOnly) {
      const volume = await lockThin(store, address);
      try {
        return await openVolumeDevice(store, volume, readOnly);
      } catch (thrown) {
        volume.close();
        throw thrown;
      }
    },
  };
}

/** Opens a volume and takes its lock, with its pool active. Throws NOT_FOUND, LOCKED, DAMAGED, UNAVAILABLE. */
export async function lockThin(store: ThinStore, address: VolumeAddress): Promise<ThinVolume> {
  const volume = await lockVolume(store, address);
  try {
    const pool = await store.openPool();
    const { id } = requireObject(volume.fd, volume.path);
    // A clone has this lock as long as it needs it so: a run that was killed left it.
    if (findThinDevice(pool, id)?.isSuspended)
      await runDmsetup(store.steps, ["resume", nameOf(pool, id)], [volume.fd]);
    return { ...volume, pool, thinId: id, sizeBytes: requireSizeOf(volume.record) };
  } catch (thrown) {
    volume.close();
    throw thrown;
  }
}

/** Gives a locked volume with its device, which is made where there is none. */
export async function openVolumeDevice(
  store: ThinStore,
  volume: ThinVolume,
  readOnly: boolean,
): Promise<OpenBlockVolume> {
  const { steps } = store;
  const { pool, thinId, sizeBytes, fd } = volume;
  const existing = await settleDevice(pool, thinId);
  if (existing) return { ...sessionOf(volume), device: existing };
  requireUsable(store, pool, readOnly);
  const opened = await openThinDevice(steps, pool, thinId, sizeBytes, readOnly, [fd]);
  const close = async () => {
    opened.close();
    volume.close();
  };
  return { ...sessionOf(volume), device: opened.device, close };
}

/** The size of a volume: a pool keeps none. Throws DAMAGED where the record does not tell. */
export function requireSizeOf({ name, sizeBytes }: VolumeRecord): number {
  if (sizeBytes !== null) return sizeBytes;
  throw new MosaicError("DAMAGED", "its record tells no size", { name });
}

/** Throws DAMAGED, NO_SPACE when the pool cannot be used, or when it is not certain which of its devices a volume is. */
function requireUsable(store: ThinStore, pool: Pool, readOnly: boolean): void {
  if (store.steps.planning) return;
  (readOnly ? requireReadable : requireWritable)(pool);
  requireTie(store.statePath, pool);
}

function sessionOf(volume: ThinVolume): Omit<OpenBlockVolume, "device"> {
  return {
    record: volume.record,
    close: async () => volume.close(),
    settle: async () => void (await settleDevice(volume.pool, volume.thinId)),
  };
}

async function using<T>(
  store: ThinStore,
  address: VolumeAddress,
  action: (volume: ThinVolume) => Promise<T>,
): Promise<T> {
  const volume = await lockThin(store, address);
  try {
    return await action(volume);
  } finally {
    volume.close();
  }
}

async function attachVolume(store: ThinStore, volume: ThinVolume, readOnly: boolean): Promise<string> {
  const { steps } = store;
  const { pool, thinId, sizeBytes, fd } = volume;
  const existing = await settleDevice(pool, thinId);
  if (existing) {
    requireAttachable(volume, existing, readOnly);
    await keepDevice(steps, pool, thinId, [fd]);
    return existing.path;
  }
  requireUsable(store, pool, readOnly);
  const opened = await openThinDevice(steps, pool, thinId, sizeBytes, readOnly, [fd]);
  try {
    await keepDevice(steps, pool, thinId, [fd]);
    return opened.device.path;
  } finally {
    opened.close();
  }
}

/** A device that only mounts use can stay; one that stays is attached already. */
function requireAttachable({ record }: ThinVolume, device: BlockDevice, asked: boolean): void {
  const { path, autoclear, readOnly } = device;
  if (autoclear && readOnly === asked) return;
  const way = readOnly ? "read-only" : "writable";
  const message = autoclear
    ? `it is mounted ${way}, so it has a ${way} device, ${path}: unmount it first`
    : `it is attached already, as ${path}`;
  const holders: Holder[] = [{ kind: "device", device: path, attached: !autoclear }];
  const reason = autoclear ? way : "attached";
  throw new MosaicError("BUSY", message, { name: record.name, reason, device: path, readOnly, holders });
}

async function detachVolume({ steps }: ThinStore, { pool, thinId, record, fd }: ThinVolume): Promise<void> {
  const device = findThinDevice(pool, thinId);
  if (!device || device.isDeferred) {
    const message = `it is not attached${device ? `: its device ${device.path} is there only for a mount` : ""}`;
    throw new MosaicError("NOT_FOUND", message, { name: record.name, reason: "not-attached" });
  }
  requireUnheld(record, await findLastingHolders(toBlockDevice(device)));
  // Somebody may look at it just now, such as udev.
  await runDmsetup(steps, ["remove", "--retry", nameOf(pool, thinId)], [fd]);
  if (!steps.planning) await waitUntilGone(pool, thinId);
}
