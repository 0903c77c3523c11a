import { constants, openSync, statfsSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import type { Filesystem } from "../filesystems/filesystem.ts";
import { whileMounted } from "../filesystems/whilemounted.ts";
import { requireUnheld } from "../location/changes.ts";
import { Deferred } from "../location/deferred.ts";
import type { LockedVolume } from "../location/volumes.ts";
import { calling } from "../system/errno.ts";
import { closeFd, setFileSize, syncMounted } from "../system/files.ts";
import { findDeviceMounts, type Holder } from "../system/holders.ts";
import { type LoopDevice, updateCapacity } from "../system/loop.ts";
import { isFrozen, openDeviceMount } from "../system/mounting.ts";
import type { Steps } from "../system/steps.ts";
import { settleDevice } from "./holders.ts";
import type { ImageStore, RawFile } from "./images.ts";

/**
 * Grows an image where it is, also in use: the file, then its device, then the filesystem, each only as far as it has not
 * come yet. False when the filesystem cannot grow in this way, and nothing uses the image: then it is as it was.
 */
export async function growImage(
  store: ImageStore,
  volume: LockedVolume,
  filesystem: Filesystem | undefined,
  sizeBytes: number,
): Promise<boolean> {
  const { steps, images } = store;
  const device = await settleDevice(images.keyOf(volume));
  if (filesystem || !images.isRaw) await requireGrowable(store, volume, device, filesystem !== undefined);
  const raw = await images.open(volume, false);
  await using closing = new Deferred();
  closing.defer(() => closeRaw(store, volume, raw, device));
  const size = images.sizeOf(volume);
  const isDone = volume.record.sizeBytes === sizeBytes && size === sizeBytes;
  await using undo = new Deferred();
  await growFile(steps, raw, size, device, sizeBytes, undo);
  if (device) await updateCapacity(steps, device, sizeBytes);
  try {
    if (filesystem) await growInside(steps, raw, filesystem, device, sizeBytes, undo);
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
  { form }: ImageStore,
  { record, path, fd }: LockedVolume,
  device: LoopDevice | undefined,
  isInside: boolean,
): Promise<void> {
  const mounts = device ? findDeviceMounts(device.path, device.number) : [];
  if (mounts.length === 0 && (isInside || !device)) {
    const holders = await form.holders(path, fd);
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

async function closeRaw(
  { images, steps }: ImageStore,
  volume: LockedVolume,
  raw: RawFile,
  device: LoopDevice | undefined,
): Promise<void> {
  raw.close();
  if (!device && !steps.planning) await images.release?.(volume);
}

async function growFile(
  steps: Steps,
  raw: RawFile,
  size: number,
  device: LoopDevice | undefined,
  sizeBytes: number,
  undo: Deferred,
): Promise<void> {
  if (size === sizeBytes) return;
  const setSize = (bytes: number) => setFileSize(steps, raw.path, raw.fd, bytes);
  // Also where the step itself fails: the file may have grown all the same.
  undo.defer(async () => {
    await setSize(size);
    if (device) await updateCapacity(steps, device, size);
  });
  await setSize(sizeBytes);
}

async function growInside(
  steps: Steps,
  raw: RawFile,
  filesystem: Filesystem,
  device: LoopDevice | undefined,
  sizeBytes: number,
  undo: Deferred,
): Promise<void> {
  const grow = (mountFd: number) => growMounted(steps, filesystem, mountFd, sizeBytes, undo);
  if (!device) return whileMounted(steps, filesystem.name, raw.path, [], grow);
  const mount = {
    filesystem: filesystem.name,
    device: device.path,
    readOnly: false,
    filesystemReadOnly: false,
    restricted: true,
  };
  const mountFd = await openDeviceMount(steps, mount);
  try {
    await grow(mountFd);
  } finally {
    if (!steps.planning) closeFd(mountFd);
  }
}

/** A filesystem that has grown, if only in part, needs the larger image, which is then no longer taken back. */
async function growMounted(
  steps: Steps,
  filesystem: Filesystem,
  mountFd: number,
  sizeBytes: number,
  undo: Deferred,
): Promise<void> {
  const grow = async (fd: number) => {
    await filesystem.grow(steps, fd, sizeBytes);
    // Before the record says so; and only now btrfs tells that it could not write what it has changed.
    await syncMounted(steps, fd);
  };
  if (steps.planning) return grow(mountFd);
  const root = `/proc/self/fd/${mountFd}/.`;
  // A mount's descriptor takes no ioctl, that of its root does.
  const rootFd = calling("open", root, () => openSync(root, constants.O_RDONLY | constants.O_DIRECTORY));
  const before = statfsSync(root).blocks;
  try {
    await grow(rootFd);
  } finally {
    if (statfsSync(root).blocks > before) undo.cancel();
    closeFd(rootFd);
  }
}

function isDenied(thrown: unknown): boolean {
  return thrown instanceof MosaicError && thrown.code === "PERMISSION_DENIED";
}
