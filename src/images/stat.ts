import { constants, openSync, statfsSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import type { FilesystemUse } from "../filesystems/filesystem.ts";
import { filesystemOf, isFilesystemName } from "../filesystems/registry.ts";
import { type LockedVolume, openVolume, type VolumeAddress } from "../location/volumes.ts";
import { calling, unlessErrno } from "../system/errno.ts";
import { closeFd } from "../system/files.ts";
import { findDeviceMounts, type Holder } from "../system/holders.ts";
import { findLoopDevice } from "../system/loop.ts";
import { type Mount, mountIdOf, pathFromHere } from "../system/mounts.ts";
import type { ImageStore } from "./images.ts";

/** What an image takes, what is in use inside, and who holds it. */
export async function statImage(store: ImageStore, address: VolumeAddress) {
  const volume = openVolume(store, address);
  try {
    const holders = await store.form.holders(volume.path, volume.fd);
    const inside = await readInside(store, volume, holders);
    const use = await store.images.measure(volume);
    const virtualBytes = store.images.sizeOf(volume);
    const image = store.images.describe(volume);
    return { record: volume.record, virtualBytes, ...use, inside, holders, image };
  } finally {
    volume.close();
  }
}

/** What is used inside: told by a mount, or by a raw image where nobody has it; null where neither can tell. */
async function readInside(
  { steps, images }: ImageStore,
  volume: LockedVolume,
  holders: readonly Holder[],
): Promise<FilesystemUse | null> {
  const { path, record } = volume;
  if (record.filesystem === null || !isFilesystemName(record.filesystem)) return null;
  const device = findLoopDevice(images.keyOf(volume));
  if (device) return readMounted(findDeviceMounts(device.path, device.number));
  if (holders.length > 0 || !images.isRaw) return null;
  try {
    return (await filesystemOf(record.filesystem).readUse(steps, path)) ?? null;
  } catch (thrown) {
    // What its users made of it, or a host without the tool, is no reason to tell nothing of the volume.
    if (thrown instanceof MosaicError && ["TOOL_FAILED", "UNAVAILABLE"].includes(thrown.code)) return null;
    throw thrown;
  }
}

/** By the first of the mounts that can be reached: something else may be mounted over it. */
function readMounted(mounts: readonly Mount[]): FilesystemUse | null {
  for (const mount of mounts) {
    const use = unlessErrno(["ENOENT", "ENOTDIR", "EACCES"], () => readMount(mount));
    if (use) return use;
  }
  return null;
}

function readMount(mount: Mount): FilesystemUse | undefined {
  const O_PATH = 0o10000000;
  const place = pathFromHere(mount);
  const fd = calling("open", place, () => openSync(place, O_PATH | constants.O_NOFOLLOW));
  try {
    if (mountIdOf(fd) !== mount.id) return undefined;
    const { bsize, blocks, bfree } = calling("statfs", place, () => statfsSync(`/proc/self/fd/${fd}`));
    return { sizeBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize };
  } finally {
    closeFd(fd);
  }
}
