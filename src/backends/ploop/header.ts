import { fstatSync, readSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, openPath } from "../../system/files.ts";
import { refused } from "./refusal.ts";

// An image of ploop: docs/interop/parallels.txt of QEMU, include/ploop1_image.h of ploop. A header of 64 bytes, a table with
// one entry of 4 bytes for each block of the disk, and blocks. All numbers are little-endian, all sectors have 512 bytes.

/** Bytes of a sector. */
export const SECTOR = 512;
/** Bytes before the table. */
export const HEADER_BYTES = 64;
/** Where the header has what changes. */
export const AT = { entries: 32, sizeSectors: 36, inUse: 44, data: 48, extension: 56 } as const;
/** What the in-use word is while a program writes the image. */
export const IN_USE = 0x746f6e59;
const CLOSED_WITH_EXTENSION = 0x312e3276;
const SIGNATURES = { WithoutFreeSpace: 1, WithouFreSpacExt: 2 } as const;
const BLOCK_SECTORS = { least: 64, most: 131072 };
const TABLE_MAX_BYTES = 64 * 1024 ** 2;

/** What the header of an image says. */
export interface ImageHeader {
  /** Format 1 counts in its table in sectors, format 2 in blocks. */
  readonly format: 1 | 2;
  readonly blockSectors: number;
  readonly entries: number;
  readonly sizeSectors: number;
  /** Whether it was not closed by who wrote it. */
  readonly isInUse: boolean;
  /** Where the blocks begin, in sectors. */
  readonly dataSectors: number;
  /** Where the block with the map of changed blocks lies, in sectors; 0 where there is none. */
  readonly extensionSectors: number;
}

/** An image of a disk, with its header. */
export interface Delta {
  readonly path: string;
  readonly header: ImageHeader;
}

/** Runs an action with an image open for reading. Throws DAMAGED when it is not there. */
export function withImage<T>(path: string, action: (fd: number, fileBytes: number) => T): T {
  const fd = openImage(path);
  try {
    const status = calling("fstat", path, () => fstatSync(fd));
    if (!status.isFile()) throw refused(path, "it is no file");
    return action(fd, status.size);
  } finally {
    closeFd(fd);
  }
}

/** Reads the header of an image. Throws UNSUPPORTED for what is not as ploop or QEMU make it, DAMAGED when it is not there. */
export function readDelta(path: string): Delta {
  return withImage(path, (fd) => ({ path, header: parseHeader(readAt(fd, path, 0, HEADER_BYTES), path) }));
}

/** Reads a part of a file; shorter where the file ends. */
export function readAt(fd: number, path: string, offset: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  const read = calling("read", path, () => readSync(fd, buffer, 0, bytes, offset));
  return buffer.subarray(0, read);
}

function openImage(path: string): number {
  try {
    return openPath(path);
  } catch (thrown) {
    const message = `the image ${quote(path)} is missing: bring it back from a backup`;
    throw new MosaicError("DAMAGED", message, { path }, thrown);
  }
}

function parseHeader(buffer: Buffer, path: string): ImageHeader {
  if (buffer.length < HEADER_BYTES) throw refused(path, "it is no ploop image");
  const format = SIGNATURES[buffer.toString("latin1", 0, 16) as keyof typeof SIGNATURES];
  if (format === undefined || buffer.readUInt32LE(16) !== 2) throw refused(path, "it is no ploop image");
  const [blockSectors, entries, dataSectors] = [28, AT.entries, AT.data].map((at) =>
    buffer.readUInt32LE(at),
  ) as [number, number, number];
  // Format 1 has 32 bits for it.
  const sizeSectors =
    format === 1 ? buffer.readUInt32LE(AT.sizeSectors) : Number(buffer.readBigUInt64LE(AT.sizeSectors));
  const extensionSectors = Number(buffer.readBigUInt64LE(AT.extension));
  const use = buffer.readUInt32LE(AT.inUse);
  const isPower = (blockSectors & (blockSectors - 1)) === 0;
  if (!isPower || blockSectors < BLOCK_SECTORS.least || blockSectors > BLOCK_SECTORS.most)
    throw refused(path, `its blocks have ${blockSectors} sectors`);
  if (entries * 4 > TABLE_MAX_BYTES) throw refused(path, "its table is too large");
  if (sizeSectors === 0 || sizeSectors > entries * blockSectors)
    throw refused(path, "its table is too small for its size");
  if (dataSectors % blockSectors !== 0 || HEADER_BYTES + entries * 4 > dataSectors * SECTOR)
    throw refused(path, "its table does not end before its blocks");
  if (use !== 0 && use !== IN_USE && use !== CLOSED_WITH_EXTENSION)
    throw refused(path, `nobody knows whether it is in use: the word for that is ${use}`);
  return {
    format,
    blockSectors,
    entries,
    sizeSectors,
    isInUse: use === IN_USE,
    dataSectors,
    extensionSectors,
  };
}
