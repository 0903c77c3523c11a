import { constants, fsyncSync, ftruncateSync, openSync } from "node:fs";
import { calling } from "../../system/errno.ts";
import { closeFd } from "../../system/files.ts";
import type { Steps } from "../../system/steps.ts";
import { locate, readContent } from "./content.ts";
import { AT, type Delta, HEADER_BYTES, readAt, SECTOR, withImage } from "./header.ts";
import { type Part, writeParts } from "./make.ts";
import { readEntry, toFileBlock } from "./table.ts";
import type { TakeBack } from "./takeback.ts";

/**
 * Changes of an image that nobody has open, in the order in which they are written: each is on the disk before the next one, so that
 * after a power cut the image is as before, with space that nothing uses, or as it shall be.
 */
export class ImageEdit {
  readonly parts: Part[] = [];
  private readonly blockBytes: number;
  private fileBlocks: number;

  constructor(
    readonly delta: Delta,
    private readonly below: readonly Delta[],
  ) {
    this.blockBytes = delta.header.blockSectors * SECTOR;
    this.fileBlocks = withImage(delta.path, (_fd, fileBytes) => Math.ceil(fileBytes / this.blockBytes));
  }

  /** Writes a piece of the disk that lies in one block; one that the image does not have is first copied from those below. */
  write(offset: number, bytes: Buffer): void {
    const at = withImage(this.delta.path, (fd) => locate(fd, this.delta, offset));
    if (at !== undefined) this.parts.push({ at, bytes });
    else this.append(Math.floor(offset / this.blockBytes), offset % this.blockBytes, bytes);
  }

  /** Makes the table reach so many blocks, for a disk of this size. */
  resize(sizeSectors: number): void {
    const { header, path } = this.delta;
    const entries = Math.ceil(sizeSectors / header.blockSectors);
    const dataSectors = this.makeRoom(HEADER_BYTES + 4 * entries);
    const old = HEADER_BYTES + 4 * header.entries;
    // What is behind the old table means nothing yet, also what a growth left there that was cut off.
    const added = Buffer.alloc(Math.max(0, 4 * (entries - header.entries)));
    const isZero = withImage(path, (fd) => readAt(fd, path, old, added.length).equals(added));
    if (!isZero) this.parts.unshift({ at: old, bytes: added });
    const words = Buffer.alloc(20);
    words.writeUInt32LE(entries, 0);
    words.writeBigUInt64LE(BigInt(sizeSectors), AT.sizeSectors - AT.entries);
    words.writeUInt32LE(dataSectors, AT.data - AT.entries);
    this.parts.push({ at: AT.entries, bytes: words });
  }

  /** Takes all of it as one step, and leaves to `undo` how the file was. */
  async apply(steps: Steps, text: string, undo: TakeBack): Promise<void> {
    const { path } = this.delta;
    if (this.parts.length === 0) return;
    if (!steps.planning) {
      const restore = withImage(path, (fd, fileBytes) => this.rememberOld(fd, fileBytes));
      undo.defer(() => steps.take<void>({ text: `${text} # undone`, kind: "call" }, restore, undefined));
    }
    await steps.take<void>({ text, kind: "call" }, () => this.writeAll(), undefined);
  }

  private append(block: number, offset: number, bytes: Buffer): void {
    const content = readContent([this.delta, ...this.below], block * this.blockBytes, this.blockBytes);
    bytes.copy(content, offset);
    this.place(block, content);
  }

  private place(block: number, content: Buffer): void {
    const entry = Buffer.alloc(4);
    const { format, blockSectors } = this.delta.header;
    entry.writeUInt32LE(this.fileBlocks * (format === 1 ? blockSectors : 1));
    this.parts.push({ at: this.fileBlocks * this.blockBytes, bytes: content });
    this.parts.push({ at: HEADER_BYTES + 4 * block, bytes: entry });
    this.fileBlocks++;
  }

  /** Moves the blocks away that lie where the table is to grow, as ploop-resize(8) does; gives where the blocks begin then, in sectors. */
  private makeRoom(bytes: number): number {
    const { header, path } = this.delta;
    const first = header.dataSectors / header.blockSectors;
    const end = Math.max(first, Math.ceil(bytes / this.blockBytes));
    for (let at = first; at < end; at++) {
      const block = findBlock(this.delta, at);
      if (block !== undefined)
        this.place(
          block,
          withImage(path, (fd) => readAt(fd, path, at * this.blockBytes, this.blockBytes)),
        );
      this.parts.push({ at: at * this.blockBytes, bytes: Buffer.alloc(this.blockBytes) });
      this.fileBlocks = Math.max(this.fileBlocks, at + 1);
    }
    return end * header.blockSectors;
  }

  /** Gives what writes all that is changed as it was. */
  private rememberOld(fd: number, fileBytes: number): () => void {
    const { path } = this.delta;
    const old = this.parts.map(({ at, bytes }) => ({ at, bytes: readAt(fd, path, at, bytes.length) }));
    // Where nothing is appended here, a daemon that has the image open may append meanwhile: that is to stay.
    const isLonger = this.parts.some(({ at, bytes }) => at + bytes.length > fileBytes);
    return () =>
      withWritable(path, (writable) => {
        for (const part of old.toReversed()) writeParts(writable, path, [part]);
        if (isLonger) calling("ftruncate", path, () => ftruncateSync(writable, fileBytes));
        calling("fsync", path, () => fsyncSync(writable));
      });
  }

  private writeAll(): void {
    withWritable(this.delta.path, (fd) => {
      for (const part of this.parts) writeParts(fd, this.delta.path, [part]);
    });
  }
}

/** The block of the disk that is a block of the file. */
function findBlock(delta: Delta, at: number): number | undefined {
  return withImage(delta.path, (fd) => {
    for (let block = 0; block < delta.header.entries; block++)
      if (toFileBlock(delta.header, readEntry(fd, delta, block)) === at) return block;
    return undefined;
  });
}

function withWritable(path: string, action: (fd: number) => void): void {
  const fd = calling("open", path, () => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
  try {
    action(fd);
  } finally {
    closeFd(fd);
  }
}
