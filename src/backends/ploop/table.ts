import { type Delta, HEADER_BYTES, type ImageHeader, readAt, SECTOR, withImage } from "./header.ts";

const PIECE_ENTRIES = 256 * 1024;

/** The block of the file that an entry of the table names; NaN for an entry of format 1 that names none. */
export function toFileBlock({ format, blockSectors }: ImageHeader, entry: number): number {
  if (format === 2) return entry;
  return entry % blockSectors === 0 ? entry / blockSectors : Number.NaN;
}

/** The entry of a block of the disk; 0 when the image does not have it. */
export function readEntry(fd: number, { path, header }: Delta, block: number): number {
  if (block >= header.entries) return 0;
  const bytes = readAt(fd, path, HEADER_BYTES + 4 * block, 4);
  return bytes.length === 4 ? bytes.readUInt32LE(0) : 0;
}

/** What the table of an image says of its file. */
export interface TableState {
  /** What is wrong with the table, so that writing would destroy data; undefined when it is sound. */
  readonly fault: string | undefined;
  /** The bytes that the last block lacks in the file. */
  readonly missingBytes: number;
  /** Where the last block of the file ends that the table names, in bytes. */
  readonly endBytes: number;
}

/** Looks at the whole table: for an entry past the end of the file, or before the blocks, and for two that are the same. */
export function inspectTable(delta: Delta): TableState {
  const { header, path } = delta;
  const blockBytes = header.blockSectors * SECTOR;
  const first = header.dataSectors / header.blockSectors;
  return withImage(path, (fd, fileBytes) => {
    const entries = readTable(fd, delta).filter((entry) => entry !== 0);
    const blocks = Float64Array.from(entries, (entry) => toFileBlock(header, entry)).sort();
    const end = Math.ceil(fileBytes / blockBytes);
    const fault = blocks.reduce<string | undefined>(
      (found, block, index) => found ?? describeFault(block, blocks[index - 1], first, end),
      undefined,
    );
    const endBytes = Math.max(first, (blocks.findLast((block) => block < end) ?? 0) + 1) * blockBytes;
    return { fault, missingBytes: Math.max(0, endBytes - fileBytes), endBytes };
  });
}

function describeFault(
  block: number,
  previous: number | undefined,
  first: number,
  end: number,
): string | undefined {
  if (Number.isNaN(block)) return "a block of the disk begins in the middle of one of the file";
  if (block < first) return "a block of the disk lies in the table";
  if (block >= end) return `a block of the disk lies past the end of the file, as its block ${block}`;
  return block === previous ? `two blocks of the disk are the same block ${block} of the file` : undefined;
}

function readTable(fd: number, { path, header }: Delta): Uint32Array {
  const table = new Uint32Array(header.entries);
  for (let start = 0; start < header.entries; start += PIECE_ENTRIES) {
    const count = Math.min(PIECE_ENTRIES, header.entries - start);
    const bytes = readAt(fd, path, HEADER_BYTES + 4 * start, 4 * count);
    for (let index = 0; index * 4 + 4 <= bytes.length; index++)
      table[start + index] = bytes.readUInt32LE(index * 4);
  }
  return table;
}
