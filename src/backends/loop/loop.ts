import { fstatSync, statfsSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import { FILESYSTEM_NAMES, filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import { checkImages } from "../../images/check.ts";
import { blockAccess } from "../../images/devices.ts";
import { sweepExports } from "../../images/exports.ts";
import { findFileUsers, findImageHolders, surveyImages } from "../../images/holders.ts";
import type { ImageStore } from "../../images/images.ts";
import { rawImages } from "../../images/raw.ts";
import { resizeImage } from "../../images/resize.ts";
import { statImage } from "../../images/stat.ts";
import { adoptVolume, publishVolume } from "../../location/changes.ts";
import { locationMembers } from "../../location/core.ts";
import type { Form } from "../../location/form.ts";
import { identityOf, type Location, openLocation } from "../../location/location.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { probeFilesystem } from "../../system/blkid.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, fileKeyOf, findStatus, makeSparseFile, removeFile } from "../../system/files.ts";
import { canShareBlocks } from "../../system/reflink.ts";
import type { Steps } from "../../system/steps.ts";
import type { Backend, BackendContext } from "../backend.ts";
import { cloneImage } from "./clone.ts";

const SIZE_STEP_BYTES = 4096;
/** The ftruncate of Bun 1.4 takes less than this. */
const TRUNCATE_MAX_BYTES = 2 ** 52;

/** Volumes are raw sparse image files; clones share their blocks where the filesystem below can do that. */
export function openLoop(context: BackendContext): Backend {
  const location = openLocation(context.location, context);
  const images = rawImages(context.steps, location);
  const store: ImageStore = { ...context, location, form: imageForm(location), images };
  return {
    ...locationMembers(store),
    limits: {
      kinds: ["fs", "disk"],
      sizeIsRequired: true,
      sizeStepBytes: SIZE_STEP_BYTES,
      sizeMaxBytes: findLargestFile(location),
      filesystems: Object.fromEntries(
        FILESYSTEM_NAMES.map((name) => [name, filesystemOf(name).minimumBytes]),
      ),
    },
    create: (record) =>
      publishVolume(store, record, (operation) => createImage(context.steps, record, operation)),
    adopt: (record) =>
      adoptVolume(store, record, (path, fd) => examineImage(context.steps, record, path, fd)),
    survey: () => surveyImages(store),
    stat: (address) => statImage(store, address),
    check: () => checkImages(store),
    block: blockAccess(store),
    resize: (address, sizeBytes, options) => resizeImage(store, address, sizeBytes, options),
    ...(canShareBlocks(location.fd, location.filesystemMagic) && {
      clone: (origin, makeRecord) => cloneImage(store, origin, makeRecord),
    }),
  };
}

function imageForm(location: Location): Form {
  return {
    backend: "loop",
    description: "an image file",
    matches: (status) => status.isFile() && status.nlink <= 1n,
    async kindOf(steps, path) {
      if (!isWholeSectors(Number(findStatus(path)?.size ?? 0))) return undefined;
      return (await isOneFilesystem(steps, path)) ? "fs" : "disk";
    },
    holders: (path, fd) => findImageHolders(fileKeyOf(fd), () => findFileUsers(path, fd)),
    // A server that died leaves its directory.
    sweep: (steps) => sweepExports(steps, identityOf(location)),
    remove: (steps, path) => removeFile(steps, path),
  };
}

/** ext4 counts the blocks of a file in 32 bits; the other filesystems hold more than can be said here. */
function findLargestFile({ path, filesystemMagic }: Location): number {
  const EXT4_MAGIC = 0xef53;
  const blocks = 2 ** 32 - 1;
  const largest =
    filesystemMagic === EXT4_MAGIC
      ? blocks * calling("statfs", path, () => statfsSync(path)).bsize
      : TRUNCATE_MAX_BYTES - 1;
  return largest - (largest % SIZE_STEP_BYTES);
}

async function createImage(steps: Steps, record: VolumeRecord, operation: Operation): Promise<void> {
  const fd = await makeSparseFile(steps, operation.volumePath, record.sizeBytes ?? 0);
  if (!steps.planning) closeFd(fd);
  if (record.filesystem === null || !isFilesystemName(record.filesystem)) return;
  await filesystemOf(record.filesystem).make(steps, operation.volumePath, operation.fd);
}

function isWholeSectors(sizeBytes: number): boolean {
  return sizeBytes > 0 && sizeBytes % 512 === 0;
}

/** Whether an image holds a filesystem that mosaic knows; blkid fails where it finds two of them. */
async function isOneFilesystem(steps: Steps, path: string): Promise<boolean> {
  try {
    const type = (await probeFilesystem(steps, path))?.type;
    return type !== undefined && isFilesystemName(type);
  } catch (thrown) {
    if (thrown instanceof MosaicError && thrown.code === "TOOL_FAILED") return false;
    throw thrown;
  }
}

async function examineImage(
  steps: Steps,
  record: VolumeRecord,
  path: string,
  fd: number,
): Promise<VolumeRecord> {
  const { size } = fstatSync(fd);
  if (!isWholeSectors(size)) {
    throw new MosaicError(
      "UNSUPPORTED",
      `${quote(path)} has ${size} bytes: an image is a whole number of sectors of 512 bytes`,
      { sizeBytes: size },
    );
  }
  if (record.kind === "disk") return { ...record, sizeBytes: size };
  const found = (await probeFilesystem(steps, path))?.type;
  if (found !== undefined && isFilesystemName(found) && (record.filesystem ?? found) === found) {
    return { ...record, sizeBytes: size, filesystem: found };
  }
  const expected = record.filesystem ?? FILESYSTEM_NAMES.join(", ");
  const message = `${quote(path)} holds ${found ?? "no filesystem"}, expected ${expected}: adopt it as a disk if it is one`;
  throw new MosaicError("UNSUPPORTED", message, { found: found ?? null, expected });
}
