import { fsyncSync, writeSync } from "node:fs";
import type { Kind } from "../../location/record.ts";
import { replaceFile } from "../../system/durablefile.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, makeDirectory, makeSparseFile } from "../../system/files.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";
import { DESCRIPTOR_NAME, IMAGE_NAME } from "./descriptor.ts";
import { formatNew } from "./descriptortext.ts";
import { makeTables, PARTITION_START, TAIL_SECTORS } from "./gpt.ts";
import { AT, HEADER_BYTES, SECTOR } from "./header.ts";

/** Sectors of a block of a new image: what ploop-init(8) takes when it is not told. */
export const BLOCK_SECTORS = 2048;
const BLOCK_BYTES = BLOCK_SECTORS * SECTOR;

/** The size of the disk for a volume of `sizeBytes`: for kind fs that is its partition, and the tables lie around it. */
export function diskSectorsFor(kind: Kind, sizeBytes: number): number {
  const sectors = sizeBytes / SECTOR + (kind === "fs" ? PARTITION_START + TAIL_SECTORS : 0);
  return Math.ceil(sectors / BLOCK_SECTORS) * BLOCK_SECTORS;
}

/** Makes the directory of a new disk. */
export async function makeDisk(
  steps: Steps,
  directory: string,
  kind: Kind,
  sizeBytes: number,
): Promise<void> {
  const sectors = diskSectorsFor(kind, sizeBytes);
  await makeDirectory(steps, directory, 0o700);
  const partition = { start: PARTITION_START, sectors: sizeBytes / SECTOR };
  const tables = kind === "fs" ? makeTables(sectors, partition) : undefined;
  const last = sectors / BLOCK_SECTORS - 1;
  const tail = Buffer.alloc(BLOCK_BYTES);
  tables?.tail.copy(tail, BLOCK_BYTES - tables.tail.length);
  const blocks = tables
    ? new Map([
        [0, tables.head],
        [last, tail],
      ])
    : new Map();
  await makeImage(steps, `${directory}/${IMAGE_NAME}`, sectors, blocks);
  await replaceFile(steps, `${directory}/${DESCRIPTOR_NAME}`, formatNew(sectors, BLOCK_SECTORS));
}

/** Makes an image of a disk of this size, which holds only these blocks. */
export async function makeImage(
  steps: Steps,
  path: string,
  sizeSectors: number,
  blocks: ReadonlyMap<number, Buffer>,
  blockSectors = BLOCK_SECTORS,
): Promise<void> {
  const [entries, blockBytes] = [sizeSectors / blockSectors, blockSectors * SECTOR];
  const tableBlocks = Math.ceil((HEADER_BYTES + 4 * entries) / blockBytes);
  const fd = await makeSparseFile(steps, path, (tableBlocks + blocks.size) * blockBytes);
  const head = makeHead(sizeSectors, blockSectors, tableBlocks, [...blocks.keys()]);
  const parts = [...blocks.values()].map((bytes, index) => ({
    at: (tableBlocks + index) * blockBytes,
    bytes,
  }));
  const words = ["qemu-img", "create", "-q", "-f", "parallels", "-o", `cluster_size=${blockBytes}`, path];
  const text = shellQuote([...words, String(sizeSectors * SECTOR)]);
  try {
    await steps.take<void>(
      { text, kind: "call" },
      () => writeParts(fd, path, [{ at: 0, bytes: head }, ...parts]),
      undefined,
    );
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}

/** A piece of a file that is written. */
export interface Part {
  readonly at: number;
  readonly bytes: Buffer;
}

/** Writes pieces of an open file, durably. */
export function writeParts(fd: number, path: string, parts: readonly Part[]): void {
  for (const { at, bytes } of parts) {
    for (let done = 0; done < bytes.length; )
      done += calling("write", path, () => writeSync(fd, bytes, done, bytes.length - done, at + done));
  }
  calling("fsync", path, () => fsyncSync(fd));
}

/** The header and the table, in which the blocks follow it in this order. */
function makeHead(
  sizeSectors: number,
  blockSectors: number,
  tableBlocks: number,
  blocks: readonly number[],
): Buffer {
  const entries = sizeSectors / blockSectors;
  const head = Buffer.alloc(HEADER_BYTES + 4 * entries);
  head.write("WithouFreSpacExt", "latin1");
  const words = [2, 16, sizeSectors / 512, blockSectors, entries];
  for (const [index, word] of words.entries()) head.writeUInt32LE(word % 2 ** 32, 16 + 4 * index);
  head.writeBigUInt64LE(BigInt(sizeSectors), AT.sizeSectors);
  head.writeUInt32LE(tableBlocks * blockSectors, AT.data);
  for (const [index, block] of blocks.entries())
    head.writeUInt32LE(tableBlocks + index, HEADER_BYTES + 4 * block);
  return head;
}
