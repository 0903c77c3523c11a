import { constants, fstatSync, openSync } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
import type { Filesystem } from "../../filesystems/filesystem.ts";
import { filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import { requireResizable, requireShrinkable } from "../../filesystems/resizing.ts";
import type { Operation } from "../../location/operation.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "../../location/record.ts";
import { replaceVolume } from "../../location/replace.ts";
import type { Store } from "../../location/store.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { calling } from "../../system/errno.ts";
import {
  closeFd,
  makeSparseFile,
  setFileSize,
  shareBlocks,
  syncPath,
  writeAttribute,
} from "../../system/files.ts";
import { canShareBlocks } from "../../system/reflink.ts";
import { runTool } from "../../system/runner.ts";
import type { ResizeOptions } from "../backend.ts";
import { growImage } from "./grow.ts";

const COPY_DEADLINE_MS = 24 * 3600 * 1000;

/** Gives an image another size: it grows where it is, and becomes smaller as a copy that takes its place. */
export async function resizeImage(
  store: Store,
  address: VolumeAddress,
  sizeBytes: number,
  { shrink }: ResizeOptions,
): Promise<VolumeRecord> {
  const volume = await lockVolume(store, address);
  try {
    const filesystem = findFilesystem(volume.record);
    const record: VolumeRecord = { ...volume.record, sizeBytes };
    const { size } = calling("fstat", volume.path, () => fstatSync(volume.fd));
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

async function recordSize({ steps }: Store, volume: LockedVolume, record: VolumeRecord): Promise<void> {
  if (volume.record.sizeBytes === record.sizeBytes) return;
  await writeAttribute(steps, volume.path, RECORD_ATTRIBUTE, formatRecord(record));
  await syncPath(steps, volume.path);
}

/** What the tools do to a filesystem that is not mounted cannot be cut off without harm: so they do it to a copy. */
async function resizeAside(
  store: Store,
  volume: LockedVolume,
  record: VolumeRecord,
  filesystem: Filesystem,
): Promise<void> {
  const { steps } = store;
  const sizeBytes = Number(record.sizeBytes);
  const build = async ({ volumePath, fd: lockFd }: Operation) => {
    await copyImage(store, volume, volumePath, lockFd);
    const current = fstatSync(volume.fd).size;
    if (sizeBytes > current) await truncateCopy(store, volumePath, sizeBytes);
    await filesystem.resizeCopy?.(steps, volumePath, sizeBytes, lockFd);
    if (sizeBytes < current) await truncateCopy(store, volumePath, sizeBytes);
  };
  try {
    await replaceVolume(store, volume, record, build);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "NO_SPACE") throw thrown;
    const message = `${thrown.message}; it is resized as a copy, for which the location needs room`;
    throw new MosaicError("NO_SPACE", message, thrown.details, thrown);
  }
}

async function copyImage(
  { steps, location }: Store,
  volume: LockedVolume,
  path: string,
  lockFd: number,
): Promise<void> {
  if (!canShareBlocks(location.fd, location.filesystemMagic)) {
    const args = ["--reflink=never", "--sparse=always", "--", volume.path, path];
    await runTool(steps, "cp", args, { fds: [lockFd], deadlineMs: COPY_DEADLINE_MS });
    return;
  }
  const fd = await makeSparseFile(steps, path, 0);
  try {
    await shareBlocks(steps, volume.path, volume.fd, path, fd);
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}

async function truncateCopy({ steps }: Store, path: string, sizeBytes: number): Promise<void> {
  const fd = steps.planning
    ? -1
    : calling("open", path, () => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
  try {
    await setFileSize(steps, path, fd, sizeBytes);
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}
