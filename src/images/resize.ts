import { constants, openSync } from "node:fs";
import { basename } from "node:path";
import { MosaicError } from "../base/errors.ts";
import type { Filesystem } from "../filesystems/filesystem.ts";
import { filesystemOf, isFilesystemName } from "../filesystems/registry.ts";
import { requireResizable, requireShrinkable } from "../filesystems/resizing.ts";
import { Deferred } from "../location/deferred.ts";
import type { Operation } from "../location/operation.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "../location/record.ts";
import { replaceVolume } from "../location/replace.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../location/volumes.ts";
import { calling } from "../system/errno.ts";
import { closeFd, setFileSize, syncPath, writeAttribute } from "../system/files.ts";
import type { Steps } from "../system/steps.ts";
import { growImage } from "./grow.ts";
import type { ImageStore } from "./images.ts";
import { requireNoServer } from "./servers.ts";

/** Gives an image another size: it grows where it is, and becomes smaller as a copy that takes its place. */
export async function resizeImage(
  store: ImageStore,
  address: VolumeAddress,
  sizeBytes: number,
  { shrink }: { readonly shrink: boolean },
): Promise<VolumeRecord> {
  const volume = await lockVolume(store, address);
  try {
    requireNoServer(store, volume);
    const filesystem = findFilesystem(volume.record);
    const record: VolumeRecord = { ...volume.record, sizeBytes };
    const size = store.images.sizeOf(volume);
    const { name } = volume.record;
    if (sizeBytes > size) requireResizable(name, filesystem, sizeBytes);
    if (sizeBytes < size) {
      const shrinkable = requireShrinkable(name, filesystem, size, sizeBytes, shrink);
      await resizeAside(store, volume, record, shrinkable);
    } else if (await growImage(store, volume, filesystem, sizeBytes)) await recordSize(store, volume, record);
    else await resizeAside(store, volume, record, filesystem as Filesystem);
    return record;
  } finally {
    volume.close();
  }
}

function findFilesystem({ filesystem }: VolumeRecord): Filesystem | undefined {
  return filesystem !== null && isFilesystemName(filesystem) ? filesystemOf(filesystem) : undefined;
}

async function recordSize(
  { steps }: Pick<ImageStore, "steps">,
  volume: LockedVolume,
  record: VolumeRecord,
): Promise<void> {
  if (volume.record.sizeBytes === record.sizeBytes) return;
  await writeAttribute(steps, volume.path, RECORD_ATTRIBUTE, formatRecord(record));
  await syncPath(steps, volume.path);
}

/** What the tools do to a filesystem that is not mounted cannot be cut off without harm: so they do it to a copy. */
async function resizeAside(
  store: ImageStore,
  volume: LockedVolume,
  record: VolumeRecord,
  filesystem: Filesystem,
): Promise<void> {
  const { steps, images } = store;
  const sizeBytes = Number(record.sizeBytes);
  const build = async ({ volumePath, path, fd: lockFd }: Operation) => {
    const current = images.sizeOf(volume);
    await images.copy(volume, volumePath, lockFd);
    // What is not kept is removed as a whole.
    if (sizeBytes > current && !steps.planning)
      await images.sizing?.grow({ ...volume, path: volumePath }, sizeBytes, undefined, new Deferred());
    await images.whileOpen(volumePath, basename(path), false, async (rawPath) => {
      if (sizeBytes > current && !images.sizing) await setRawSize(steps, rawPath, sizeBytes);
      await filesystem.resizeCopy?.(steps, rawPath, sizeBytes, lockFd);
      if (sizeBytes < current && !images.sizing) await setRawSize(steps, rawPath, sizeBytes);
    });
    if (sizeBytes < current) await images.sizing?.cut(volumePath, sizeBytes, lockFd);
  };
  try {
    await replaceVolume(store, volume, record, build);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "NO_SPACE") throw thrown;
    const message = `${thrown.message}; it is resized as a copy, for which the location needs room`;
    throw new MosaicError("NO_SPACE", message, thrown.details, thrown);
  }
}

async function setRawSize(steps: Steps, path: string, sizeBytes: number): Promise<void> {
  const fd = steps.planning
    ? -1
    : calling("open", path, () => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
  try {
    await setFileSize(steps, path, fd, sizeBytes);
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}
