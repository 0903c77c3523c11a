import { fstatSync } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
import type { FilesystemUse } from "../../filesystems/filesystem.ts";
import { readMounted } from "../../filesystems/mounteduse.ts";
import { filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import type { Store } from "../../location/store.ts";
import { type LockedVolume, openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { calling } from "../../system/errno.ts";
import { measureSharedBytes } from "../../system/fiemap.ts";
import { fileKeyOf } from "../../system/files.ts";
import { findDeviceMounts, type Holder } from "../../system/holders.ts";
import { findLoopDevice } from "../../system/loop.ts";
import type { Steps } from "../../system/steps.ts";
import type { VolumeStat } from "../backend.ts";
import { findImageHolders } from "./holders.ts";

/** What an image takes, what is in use inside, and who holds it. */
export async function statImage(store: Store, address: VolumeAddress): Promise<VolumeStat> {
  const volume = openVolume(store, address);
  const { path, fd, record } = volume;
  try {
    const holders = await findImageHolders(path, fd);
    const inside = await readInside(store.steps, volume, holders);
    const sharedBytes = await measureSharedBytes(fd, path);
    const { size, blocks } = calling("fstat", path, () => fstatSync(fd));
    const allocatedBytes = blocks * 512;
    const exclusiveBytes = Math.max(0, allocatedBytes - sharedBytes);
    return { record, virtualBytes: size, allocatedBytes, exclusiveBytes, inside, holders };
  } finally {
    volume.close();
  }
}

/** What is used inside: told by a mount, or by the image where nobody has it; null where neither can tell. */
async function readInside(
  steps: Steps,
  { fd, path, record }: LockedVolume,
  holders: readonly Holder[],
): Promise<FilesystemUse | null> {
  if (record.filesystem === null || !isFilesystemName(record.filesystem)) return null;
  const device = findLoopDevice(fileKeyOf(fd));
  if (device) return readMounted(findDeviceMounts(device.path, device.number));
  if (holders.length > 0) return null;
  try {
    return (await filesystemOf(record.filesystem).readUse(steps, path)) ?? null;
  } catch (thrown) {
    // What its users made of it, or a host without the tool, is no reason to tell nothing of the volume.
    if (thrown instanceof MosaicError && ["TOOL_FAILED", "UNAVAILABLE"].includes(thrown.code)) return null;
    throw thrown;
  }
}
