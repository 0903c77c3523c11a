import { MosaicError } from "../base/errors.ts";
import type { FilesystemUse } from "../filesystems/filesystem.ts";
import { readMounted } from "../filesystems/mounteduse.ts";
import { filesystemOf, isFilesystemName } from "../filesystems/registry.ts";
import { type LockedVolume, openVolume, type VolumeAddress } from "../location/volumes.ts";
import { findDeviceMounts, type Holder } from "../system/holders.ts";
import { findLoopDevice } from "../system/loop.ts";
import { requireNotDead } from "./exports.ts";
import type { ImageStore } from "./images.ts";
import { exportOf } from "./servers.ts";

/** What an image takes, what is in use inside, and who holds it. */
export async function statImage(store: ImageStore, address: VolumeAddress) {
  const volume = openVolume(store, address);
  try {
    requireNotDead(exportOf(store, volume.record.id));
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
