import { constants, fstatSync, openSync } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
import type { Filesystem } from "../../filesystems/filesystem.ts";
import { growMounted } from "../../filesystems/growth.ts";
import { whileDeviceMounted, whileMounted } from "../../filesystems/whilemounted.ts";
import { requireUnheld } from "../../location/changes.ts";
import { Deferred } from "../../location/deferred.ts";
import type { Store } from "../../location/store.ts";
import type { LockedVolume } from "../../location/volumes.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, setFileSize } from "../../system/files.ts";
import { findDeviceMounts, type Holder } from "../../system/holders.ts";
import { type LoopDevice, updateCapacity } from "../../system/loop.ts";
import { isFrozen } from "../../system/mounting.ts";
import type { Steps } from "../../system/steps.ts";
import { findImageHolders, settleDevice } from "./holders.ts";

/**
 * Grows an image where it is, also in use: the file, then its device, then the filesystem, each only as far as it has not
 * come yet. False when the filesystem cannot grow in this way, and nothing uses the image: then it is as it was.
 */
export async function growImage(
  store: Store,
  volume: LockedVolume,
  filesystem: Filesystem | undefined,
  sizeBytes: number,
): Promise<boolean> {
  const { steps } = store;
  const device = await settleDevice(volume.fd);
  if (filesystem) await requireGrowable(volume, device);
  const isDone = volume.record.sizeBytes === sizeBytes && readSize(volume) === sizeBytes;
  await using undo = new Deferred();
  await growFile(steps, volume, device, sizeBytes, undo);
  if (device) await updateCapacity(steps, device, sizeBytes);
  try {
    if (filesystem) await growInside(steps, volume, filesystem, device, sizeBytes, undo);
  } catch (thrown) {
    if (!isDenied(thrown)) throw thrown;
    if (!device && filesystem?.resizeCopy) return false;
    // The record is written last: it says that the filesystem has that size already.
    if (isDone) return true;
    const advice = "growing it in use needs CAP_SYS_RESOURCE: unmount and detach it first";
    throw new MosaicError("PERMISSION_DENIED", `${(thrown as Error).message}; ${advice}`, {}, thrown);
  }
  undo.cancel();
  return true;
}

/** Growing the filesystem means mounting it: not where somebody has the device or the image for himself. */
async function requireGrowable(
  { record, path, fd }: LockedVolume,
  device: LoopDevice | undefined,
): Promise<void> {
  const mounts = device ? findDeviceMounts(device.path, device.number) : [];
  if (mounts.length === 0) {
    const holders = await findImageHolders(path, fd);
    const isOwn = (holder: Holder) => holder.kind === "device" && holder.device === device?.path;
    requireUnheld(
      record,
      holders.filter((holder) => !isOwn(holder)),
    );
  }
  if (!device) return;
  const isReadOnly = device.readOnly || mounts.some((mount) => mount.superOptions.includes("ro"));
  const [mount] = mounts;
  if (!isReadOnly && !(mount && isFrozen(mount))) return;
  const why = isReadOnly ? "it is in use read-only: unmount it first" : "its filesystem is frozen";
  throw new MosaicError("BUSY", why, { name: record.name, device: device.path });
}

async function growFile(
  steps: Steps,
  volume: LockedVolume,
  device: LoopDevice | undefined,
  sizeBytes: number,
  undo: Deferred,
): Promise<void> {
  const size = readSize(volume);
  if (size === sizeBytes) return;
  const setSize = async (bytes: number) => {
    const path = `/proc/self/fd/${volume.fd}`;
    const fd = calling("open", volume.path, () => openSync(path, constants.O_RDWR));
    try {
      await setFileSize(steps, volume.path, fd, bytes);
    } finally {
      closeFd(fd);
    }
  };
  // Also where the step itself fails: the file may have grown all the same.
  undo.defer(async () => {
    await setSize(size);
    if (device) await updateCapacity(steps, device, size);
  });
  await setSize(sizeBytes);
}

function readSize({ path, fd }: LockedVolume): number {
  return calling("fstat", path, () => fstatSync(fd)).size;
}

async function growInside(
  steps: Steps,
  volume: LockedVolume,
  filesystem: Filesystem,
  device: LoopDevice | undefined,
  sizeBytes: number,
  undo: Deferred,
): Promise<void> {
  // A filesystem that has grown, if only in part, needs the larger image, which is then no longer taken back.
  const keep = () => undo.cancel();
  const grow = (mountFd: number) => growMounted(steps, filesystem, mountFd, sizeBytes, keep);
  if (!device) return whileMounted(steps, filesystem.name, volume.path, [], grow);
  return whileDeviceMounted(steps, filesystem.name, device.path, [], grow);
}

function isDenied(thrown: unknown): boolean {
  return thrown instanceof MosaicError && thrown.code === "PERMISSION_DENIED";
}
