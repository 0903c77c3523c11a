import { readSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { calling } from "../system/errno.ts";

// The header of a qcow2 image: docs/interop/qcow2.txt of QEMU. Whoever is root in a guest that has an image whole may have
// written it, so it is read strictly, by us, before any tool opens the image.

const MAGIC = 0x514649fb;
const BACKING_FORMAT = 0xe2792aca;
const HEADER_BYTES = 4096;
const NAME_MAX_BYTES = 1023;
/** Incompatible features: 0 dirty, 1 corrupt, 2 external data file, 3 compression type, 4 extended L2 entries. */
const FEATURE = { corrupt: 2n, dataFile: 4n, known: 0b11011n };
const L1_MAX_BYTES = 32 * 1024 ** 2;

/** What the header of an image says. */
export interface Qcow2Header {
  /** The size that users see, in bytes. */
  readonly sizeBytes: number;
  /** The name of the image below, as it is written there; null where there is none. */
  readonly backing: string | null;
  /** Where that name lies in the file, and the room for it in bytes. */
  readonly backingOffset: number;
  readonly l1Offset: number;
  readonly l1Entries: number;
}

/** Reads the header of an open file. Throws UNSUPPORTED for what is not a qcow2 image that moctl could have made, DAMAGED for a corrupt one. */
export function readHeader(fd: number, path: string): Qcow2Header {
  const buffer = readAt(fd, path, 0, HEADER_BYTES);
  if (buffer.length < 104 || buffer.readUInt32BE(0) !== MAGIC) throw refused(path, "it is no qcow2 image");
  if (buffer.readUInt32BE(4) !== 3)
    throw refused(path, "it is not version 3 of qcow2: qemu-img amend -f qcow2 -o compat=1.1");
  if (buffer.readUInt32BE(32) !== 0) throw refused(path, "it is encrypted");
  const features = buffer.readBigUInt64BE(72);
  if ((features & FEATURE.dataFile) !== 0n) throw refused(path, "its data lies in another file");
  if ((features & FEATURE.corrupt) !== 0n) {
    const message = `${JSON.stringify(path)} is marked as corrupt: look at it with qemu-img check -r all`;
    throw new MosaicError("DAMAGED", message, { path });
  }
  if ((features & ~FEATURE.known) !== 0n) throw refused(path, "it has features that are not known here");
  const sizeBytes = Number(buffer.readBigUInt64BE(24));
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes === 0 || sizeBytes % 512 !== 0)
    throw refused(path, "its size is no whole number of sectors");
  const l1Entries = buffer.readUInt32BE(36);
  if (l1Entries * 8 > L1_MAX_BYTES) throw refused(path, "its table is too large");
  const backing = readBacking(buffer, path);
  return {
    sizeBytes,
    backing,
    backingOffset: Number(buffer.readBigUInt64BE(8)),
    l1Offset: Number(buffer.readBigUInt64BE(40)),
    l1Entries,
  };
}

/** Whether nothing was ever written to an image, so that all of it is read from the image below; only for one that nobody has open. */
export function isBlank(fd: number, path: string, { l1Offset, l1Entries }: Qcow2Header): boolean {
  return readAt(fd, path, l1Offset, l1Entries * 8).every((byte) => byte === 0);
}

/** The start of a file, where an image has its header, as text; empty where it is no qcow2 image. */
export function readHead(fd: number, path: string): string {
  const buffer = readAt(fd, path, 0, HEADER_BYTES);
  return buffer.length >= 4 && buffer.readUInt32BE(0) === MAGIC ? buffer.toString("latin1") : "";
}

function readBacking(buffer: Buffer, path: string): string | null {
  const offset = buffer.readBigUInt64BE(8);
  if (offset === 0n) return null;
  const bytes = buffer.readUInt32BE(16);
  if (bytes === 0 || bytes > NAME_MAX_BYTES || offset + BigInt(bytes) > BigInt(buffer.length))
    throw refused(path, "the name of the image below it lies outside of its header");
  if (readExtension(buffer, BACKING_FORMAT, path) !== "qcow2")
    throw refused(path, "it does not say that the image below it is qcow2");
  return buffer.toString("utf8", Number(offset), Number(offset) + bytes);
}

/** Extensions follow the header, each a type, a length and data up to a multiple of 8 bytes. */
function readExtension(buffer: Buffer, wanted: number, path: string): string | undefined {
  let offset = buffer.readUInt32BE(100);
  while (offset + 8 <= buffer.length) {
    const [type, bytes] = [buffer.readUInt32BE(offset), buffer.readUInt32BE(offset + 4)];
    if (type === 0) return undefined;
    if (offset + 8 + bytes > buffer.length) break;
    if (type === wanted) return buffer.toString("utf8", offset + 8, offset + 8 + bytes);
    offset += 8 + Math.ceil(bytes / 8) * 8;
  }
  throw refused(path, "its header has no end");
}

function readAt(fd: number, path: string, offset: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  return buffer.subarray(
    0,
    calling("read", path, () => readSync(fd, buffer, 0, bytes, offset)),
  );
}

function refused(path: string, why: string): MosaicError {
  return new MosaicError("UNSUPPORTED", `${JSON.stringify(path)} cannot be used: ${why}`, { path, why });
}
