import { MosaicError } from "../../base/errors.ts";
import type { Filesystem } from "../../filesystems/filesystem.ts";
import { growMounted } from "../../filesystems/growth.ts";
import { filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import { requireResizable, requireShrinkable } from "../../filesystems/resizing.ts";
import { whileDeviceMounted } from "../../filesystems/whilemounted.ts";
import { requireUnheld } from "../../location/changes.ts";
import { Deferred } from "../../location/deferred.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "../../location/record.ts";
import { replaceVolume } from "../../location/replace.ts";
import type { VolumeAddress } from "../../location/volumes.ts";
import { readTable } from "../../system/devicemapper.ts";
import { syncPath, writeAttribute } from "../../system/files.ts";
import { findDeviceMounts } from "../../system/holders.ts";
import { isFrozen } from "../../system/mounting.ts";
import type { BlockDevice, ResizeOptions } from "../backend.ts";
import { lockThin, type ThinVolume } from "./access.ts";
import { snapThin, whileActive } from "./clone.ts";
import { findThinHolders, resizeDevice, settleDevice } from "./devices.ts";
import { requireRoom } from "./health.ts";
import { requireTie } from "./ledger.ts";
import { requireCommitted } from "./overcommit.ts";
import type { ThinStore } from "./store.ts";

const SECTOR_BYTES = 512;

/** Gives a volume another size: it grows where it is, and becomes smaller as a copy that takes its place. */
export async function resizeThin(
  store: ThinStore,
  address: VolumeAddress,
  sizeBytes: number,
  { shrink }: ResizeOptions,
): Promise<VolumeRecord> {
  const volume = await lockThin(store, address);
  try {
    const filesystem = findFilesystem(volume.record);
    const record: VolumeRecord = { ...volume.record, sizeBytes };
    if (sizeBytes > volume.sizeBytes) {
      requireResizable(volume.record.name, filesystem, sizeBytes);
      requireCommitted(store, volume.pool.sizeBytes, sizeBytes - volume.sizeBytes);
    }
    if (sizeBytes < volume.sizeBytes) {
      const shrinkable = requireShrinkable(
        volume.record.name,
        filesystem,
        volume.sizeBytes,
        sizeBytes,
        shrink,
      );
      await shrinkAside(store, volume, record, shrinkable);
    } else await growThin(store, volume, record, filesystem);
    return record;
  } finally {
    volume.close();
  }
}

function findFilesystem({ filesystem }: VolumeRecord): Filesystem | undefined {
  return filesystem !== null && isFilesystemName(filesystem) ? filesystemOf(filesystem) : undefined;
}

/**
 * The record comes first, as the pool keeps no size: a device that is smaller than its filesystem would hide data. Then
 * the device, then the filesystem; where a run was killed between, the same call completes it.
 */
async function growThin(
  store: ThinStore,
  volume: ThinVolume,
  record: VolumeRecord,
  filesystem: Filesystem | undefined,
): Promise<void> {
  const { steps } = store;
  const { pool, thinId, fd } = volume;
  const sizeBytes = Number(record.sizeBytes);
  if (!steps.planning) {
    requireRoom(pool, store.limits);
    requireTie(store.statePath, pool);
  }
  const device = await settleDevice(pool, thinId);
  if (filesystem) await requireGrowable(volume, device);
  await using undo = new Deferred();
  await recordSize(store, volume, record, undo);
  if (device && readSize(device) !== sizeBytes) {
    const before = readSize(device);
    undo.defer(() => resizeDevice(steps, pool, thinId, before, [fd]));
    await resizeDevice(steps, pool, thinId, sizeBytes, [fd]);
  }
  if (filesystem) await growInside(store, volume, filesystem, device, sizeBytes, () => undo.cancel());
  undo.cancel();
}

async function growInside(
  store: ThinStore,
  volume: ThinVolume,
  filesystem: Filesystem,
  device: BlockDevice | undefined,
  sizeBytes: number,
  keep: () => void,
): Promise<void> {
  const { steps } = store;
  const grow = (mountFd: number) => growMounted(steps, filesystem, mountFd, sizeBytes, keep);
  const mount = (path: string) => whileDeviceMounted(steps, filesystem.name, path, [], grow);
  if (device) return mount(device.path);
  return whileActive(store, { pool: volume.pool, sizeBytes }, volume.thinId, volume.fd, mount);
}

/** Growing the filesystem means mounting it: not where somebody has the device for himself. */
async function requireGrowable(
  { record, pool, thinId }: ThinVolume,
  device: BlockDevice | undefined,
): Promise<void> {
  const mounts = device ? findDeviceMounts(device.path, device.number) : [];
  if (mounts.length === 0) {
    const holders = await findThinHolders(pool, thinId);
    requireUnheld(
      record,
      holders.filter((holder) => holder.kind !== "device" || holder.device !== device?.path),
    );
  }
  if (!device) return;
  const isReadOnly = device.readOnly || mounts.some((mount) => mount.superOptions.includes("ro"));
  const [mount] = mounts;
  if (!isReadOnly && !(mount && isFrozen(mount))) return;
  const why = isReadOnly ? "it is in use read-only: unmount it first" : "its filesystem is frozen";
  throw new MosaicError("BUSY", why, { name: record.name, device: device.path });
}

async function recordSize(
  { steps }: ThinStore,
  volume: ThinVolume,
  record: VolumeRecord,
  undo: Deferred,
): Promise<void> {
  if (volume.record.sizeBytes === record.sizeBytes) return;
  const write = async (value: VolumeRecord) => {
    await writeAttribute(steps, volume.path, RECORD_ATTRIBUTE, formatRecord(value));
    await syncPath(steps, volume.path);
  };
  undo.defer(() => write(volume.record));
  await write(record);
}

/** What the tools do to a filesystem that is not mounted cannot be cut off without harm: so they do it to a snapshot. */
function shrinkAside(
  store: ThinStore,
  volume: ThinVolume,
  record: VolumeRecord,
  filesystem: Filesystem,
): Promise<void> {
  return replaceVolume(store, volume, record, async (operation) => {
    const { id } = await snapThin(store, volume, operation);
    await whileActive(store, volume, id, operation.fd, async (path) => {
      await filesystem.resizeCopy?.(store.steps, path, Number(record.sizeBytes), operation.fd);
    });
  });
}

function readSize({ number }: BlockDevice): number {
  return readTable({ number }).reduce((sum, { sectors }) => sum + sectors * SECTOR_BYTES, 0);
}
