// The partition table of a disk of kind fs: UEFI Specification 2.10, 5.3, with one partition, as ploop-init(8) makes it.

const SECTOR = 512;
const SIGNATURE = "EFI PART";
const ENTRY = { count: 128, bytes: 128 } as const;
const TABLE_SECTORS = (ENTRY.count * ENTRY.bytes) / SECTOR;
const LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/** Where the partition begins, in sectors. */
export const PARTITION_START = 2048;
/** The sectors of the table at the start of a disk. */
export const HEAD_SECTORS = 2 + TABLE_SECTORS;
/** The sectors of the copy of the table at the end of a disk. */
export const TAIL_SECTORS = 1 + TABLE_SECTORS;

/** A partition, in sectors. */
export interface Partition {
  readonly start: number;
  readonly sectors: number;
}

/** Both tables of a disk, as they lie at its start and at its end. */
export interface PartitionTables {
  readonly head: Buffer;
  readonly tail: Buffer;
}

/** The one partition of a disk by the table at its start, or by the copy at its end; undefined where there is no table, or not one partition. */
export function findPartition({ head, tail }: PartitionTables, diskSectors: number): Partition | undefined {
  const table = findTable({ head, tail });
  if (!table) return undefined;
  const used = listEntries(table).filter((entry) => !entry.subarray(0, 16).equals(Buffer.alloc(16)));
  const [entry] = used;
  if (!entry || used.length > 1) return undefined;
  const [start, last] = [Number(entry.readBigUInt64LE(32)), Number(entry.readBigUInt64LE(40))];
  const isInside = start >= HEAD_SECTORS && start <= last && last < diskSectors;
  return isInside ? { start, sectors: last - start + 1 } : undefined;
}

/** The tables of a new disk with one partition. */
export function makeTables(diskSectors: number, partition: Partition): PartitionTables {
  const entries = Buffer.alloc(ENTRY.count * ENTRY.bytes);
  writeGuid(entries, 0, LINUX_DATA);
  writeGuid(entries, 16, crypto.randomUUID());
  const header = Buffer.alloc(SECTOR);
  writeGuid(header, 56, crypto.randomUUID());
  return formatTables(header, entries, diskSectors, partition);
}

/** The tables for another size, with the names and marks of the old ones. Undefined where there is none. */
export function resizeTables(
  tables: PartitionTables,
  diskSectors: number,
  partition: Partition,
): PartitionTables | undefined {
  const table = findTable(tables);
  if (!table) return undefined;
  const entries = Buffer.from(table.entries);
  const at = listEntries(table).findIndex((entry) => !entry.subarray(0, 16).equals(Buffer.alloc(16)));
  if (at > 0)
    entries
      .copyWithin(0, at * ENTRY.bytes, (at + 1) * ENTRY.bytes)
      .fill(0, at * ENTRY.bytes, (at + 1) * ENTRY.bytes);
  return formatTables(Buffer.from(table.header), entries, diskSectors, partition);
}

interface Table {
  readonly header: Buffer;
  readonly entries: Buffer;
}

function findTable({ head, tail }: PartitionTables): Table | undefined {
  const first = { header: head.subarray(SECTOR, 2 * SECTOR), entries: head.subarray(2 * SECTOR) };
  const second = {
    header: tail.subarray(TABLE_SECTORS * SECTOR),
    entries: tail.subarray(0, TABLE_SECTORS * SECTOR),
  };
  return [first, second].find(isSound);
}

function isSound({ header, entries }: Table): boolean {
  if (header.toString("latin1", 0, 8) !== SIGNATURE || header.readUInt32LE(12) !== 92) return false;
  if (header.readUInt32LE(80) !== ENTRY.count || header.readUInt32LE(84) !== ENTRY.bytes) return false;
  return header.readUInt32LE(16) === sumHeader(header) && header.readUInt32LE(88) === Bun.hash.crc32(entries);
}

function listEntries({ entries }: Table): Buffer[] {
  return Array.from({ length: ENTRY.count }, (_, index) =>
    entries.subarray(index * ENTRY.bytes, (index + 1) * ENTRY.bytes),
  );
}

function formatTables(
  header: Buffer,
  entries: Buffer,
  diskSectors: number,
  { start, sectors }: Partition,
): PartitionTables {
  entries.writeBigUInt64LE(BigInt(start), 32);
  entries.writeBigUInt64LE(BigInt(start + sectors - 1), 40);
  header.write(SIGNATURE, "latin1");
  header.writeUInt32LE(0x10000, 8);
  header.writeUInt32LE(92, 12);
  header.writeBigUInt64LE(BigInt(HEAD_SECTORS), 40);
  header.writeBigUInt64LE(BigInt(diskSectors - TAIL_SECTORS - 1), 48);
  header.writeUInt32LE(ENTRY.count, 80);
  header.writeUInt32LE(ENTRY.bytes, 84);
  header.writeUInt32LE(Bun.hash.crc32(entries), 88);
  const last = diskSectors - 1;
  const head = [makeProtective(diskSectors), placeHeader(header, 1, last, 2), entries];
  const tail = [entries, placeHeader(header, last, 1, diskSectors - TAIL_SECTORS)];
  return { head: Buffer.concat(head), tail: Buffer.concat(tail) };
}

function placeHeader(header: Buffer, own: number, other: number, entries: number): Buffer {
  const placed = Buffer.from(header);
  placed.writeBigUInt64LE(BigInt(own), 24);
  placed.writeBigUInt64LE(BigInt(other), 32);
  placed.writeBigUInt64LE(BigInt(entries), 72);
  placed.writeUInt32LE(sumHeader(placed), 16);
  return placed;
}

/** Of the 92 bytes that are the header, its own place taken as zeros. */
function sumHeader(header: Buffer): number {
  const copy = Buffer.from(header.subarray(0, 92));
  copy.writeUInt32LE(0, 16);
  return Bun.hash.crc32(copy);
}

/** The first sector, for programs that know no GPT: all of the disk is taken. */
function makeProtective(diskSectors: number): Buffer {
  const sector = Buffer.alloc(SECTOR);
  sector.set([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0], 446);
  sector.writeUInt32LE(Math.min(diskSectors - 1, 0xffffffff), 458);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

/** The first three fields of a GUID are little-endian. */
function writeGuid(buffer: Buffer, offset: number, guid: string): void {
  const bytes = Buffer.from(guid.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  bytes.copy(buffer, offset);
}
