import { fstatSync, statfsSync } from "node:fs";
import type { FilesystemUse } from "../../filesystems/filesystem.ts";
import { filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import type { Store } from "../../location/store.ts";
import { type LockedVolume, openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { calling } from "../../system/errno.ts";
import { measureSharedBytes } from "../../system/fiemap.ts";
import { fileKeyOf } from "../../system/files.ts";
import { findDeviceMounts } from "../../system/holders.ts";
import { findLoopDevice } from "../../system/loop.ts";
import { pathFromHere } from "../../system/mounts.ts";
import type { Steps } from "../../system/steps.ts";
import type { VolumeStat } from "../backend.ts";
import { findImageHolders } from "./holders.ts";

/** What an image takes, what is in use inside, and who holds it. */
export async function statImage(store: Store, address: VolumeAddress): Promise<VolumeStat> {
  const volume = openVolume(store, address);
  const { path, fd, record } = volume;
  try {
    const inside = await readInside(store.steps, volume);
    const sharedBytes = await measureSharedBytes(fd, path);
    const { size, blocks } = calling("fstat", path, () => fstatSync(fd));
    const allocatedBytes = blocks * 512;
    const exclusiveBytes = Math.max(0, allocatedBytes - sharedBytes);
    const holders = await findImageHolders(path, fd);
    return { record, virtualBytes: size, allocatedBytes, exclusiveBytes, inside, holders };
  } finally {
    volume.close();
  }
}

/** What is used inside: told by the mount, or by the image where nobody has it. */
async function readInside(steps: Steps, { fd, path, record }: LockedVolume): Promise<FilesystemUse | null> {
  if (record.filesystem === null || !isFilesystemName(record.filesystem)) return null;
  const device = findLoopDevice(fileKeyOf(fd));
  if (!device) return (await filesystemOf(record.filesystem).readUse(steps, path)) ?? null;
  const [mount] = findDeviceMounts(device.path, device.number);
  if (!mount) return null;
  const place = pathFromHere(mount);
  const { bsize, blocks, bfree } = calling("statfs", place, () => statfsSync(place));
  return { sizeBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize };
}
