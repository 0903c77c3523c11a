import { type Delta, readAt, SECTOR, withImage } from "./header.ts";
import { readEntry, toFileBlock } from "./table.ts";

/** A part of a disk, read from its images, of which the first one that has a block gives it; what none has is zeros. */
export function readContent(deltas: readonly Delta[], offset: number, bytes: number): Buffer {
  const result = Buffer.alloc(bytes);
  let at = 0;
  while (at < bytes) {
    const piece = Math.min(bytes - at, bytesLeftInBlock(deltas, offset + at));
    readPiece(deltas, offset + at, piece).copy(result, at);
    at += piece;
  }
  return result;
}

/** Where a byte of the disk lies in the file of an image; undefined where the image does not have that block. */
export function locate(fd: number, delta: Delta, offset: number): number | undefined {
  const blockBytes = delta.header.blockSectors * SECTOR;
  const entry = readEntry(fd, delta, Math.floor(offset / blockBytes));
  return entry === 0 ? undefined : toFileBlock(delta.header, entry) * blockBytes + (offset % blockBytes);
}

/** The images of one disk may differ in the size of their blocks. */
function bytesLeftInBlock(deltas: readonly Delta[], offset: number): number {
  return Math.min(
    ...deltas.map(
      ({ header: { blockSectors } }) => blockSectors * SECTOR - (offset % (blockSectors * SECTOR)),
    ),
  );
}

function readPiece(deltas: readonly Delta[], offset: number, bytes: number): Buffer {
  for (const delta of deltas) {
    const found = withImage(delta.path, (fd) => {
      const at = locate(fd, delta, offset);
      return at === undefined || !Number.isSafeInteger(at) ? undefined : readAt(fd, delta.path, at, bytes);
    });
    if (found) return found;
  }
  return Buffer.alloc(0);
}
