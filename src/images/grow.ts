import { MosaicError } from "../base/errors.ts";
import type { Filesystem } from "../filesystems/filesystem.ts";
import { growMounted } from "../filesystems/growth.ts";
import { whileDeviceMounted, whileMounted } from "../filesystems/whilemounted.ts";
import { requireUnheld } from "../location/changes.ts";
import { Deferred } from "../location/deferred.ts";
import type { LockedVolume } from "../location/volumes.ts";
import { setFileSize } from "../system/files.ts";
import { findDeviceMounts, type Holder } from "../system/holders.ts";
import { type LoopDevice, updateCapacity } from "../system/loop.ts";
import { isFrozen } from "../system/mounting.ts";
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
  const size = images.sizeOf(volume);
  const isDone = volume.record.sizeBytes === sizeBytes && size === sizeBytes;
  await using undoImage = new Deferred();
  if (size !== sizeBytes) await images.sizing?.grow(volume, sizeBytes, device, undoImage);
  const raw = await images.open(volume, false);
  await using closing = new Deferred();
  closing.defer(() => closeRaw(store, volume, raw, device));
  await using undo = new Deferred();
  // A filesystem that has grown, if only in part, needs the larger image, which is then no longer taken back.
  const keep = () => {
    undo.cancel();
    undoImage.cancel();
  };
  if (!images.sizing) await growFile(steps, raw, size, device, sizeBytes, undo);
  if (device) await updateCapacity(steps, device, sizeBytes);
  try {
    if (filesystem) await growInside(steps, raw, filesystem, device, sizeBytes, keep);
  } catch (thrown) {
    if (!isDenied(thrown)) throw thrown;
    if (!device && filesystem?.resizeCopy) return false;
    // The record is written last: it says that the filesystem has that size already.
    if (isDone) return true;
    const advice = "growing it in use needs CAP_SYS_RESOURCE: unmount and detach it first";
    throw new MosaicError("PERMISSION_DENIED", `${(thrown as Error).message}; ${advice}`, {}, thrown);
  }
  keep();
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
  keep: () => void,
): Promise<void> {
  const grow = (mountFd: number) => growMounted(steps, filesystem, mountFd, sizeBytes, keep);
  if (!device) return whileMounted(steps, filesystem.name, raw.path, [], grow);
  return whileDeviceMounted(steps, filesystem.name, device.path, [], grow);
}

function isDenied(thrown: unknown): boolean {
  return thrown instanceof MosaicError && thrown.code === "PERMISSION_DENIED";
}
