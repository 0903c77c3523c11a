import { MosaicError, quote } from "../../base/errors.ts";
import type { Kind } from "../../location/record.ts";
import type { Window } from "../../system/storagedaemon.ts";
import { readContent } from "./content.ts";
import { type Descriptor, readDescriptor } from "./descriptor.ts";
import { findPartition, HEAD_SECTORS, type Partition, type PartitionTables, TAIL_SECTORS } from "./gpt.ts";
import { type Delta, readDelta, SECTOR } from "./header.ts";

/** A disk of ploop: a directory with a descriptor and images. */
export interface Disk {
  readonly directory: string;
  readonly descriptor: Descriptor;
  /** The images that it is read from, the one that is written first. */
  readonly deltas: readonly [Delta, ...Delta[]];
  /** The size of the disk, which is that of the image that is written. */
  readonly sizeSectors: number;
}

/** Reads what a directory says of its disk. Throws DAMAGED, UNSUPPORTED. */
export function readDisk(directory: string): Disk {
  const descriptor = readDescriptor(directory);
  const [top, ...below] = descriptor.chain.map(({ file }) => readDelta(`${directory}/${file}`));
  const deltas = [top as Delta, ...below] as const;
  return { directory, descriptor, deltas, sizeSectors: deltas[0].header.sizeSectors };
}

/** The partition tables of a disk, as they are, whatever they are. */
export function readTables({ deltas, sizeSectors }: Disk): PartitionTables {
  const head = readContent(deltas, 0, HEAD_SECTORS * SECTOR);
  const tail = readContent(deltas, Math.max(0, sizeSectors - TAIL_SECTORS) * SECTOR, TAIL_SECTORS * SECTOR);
  return { head, tail };
}

/** The partition with the filesystem of a disk. Throws DAMAGED where there is not one. */
export function requirePartition(disk: Disk): Partition {
  const partition = findPartition(readTables(disk), disk.sizeSectors);
  if (partition) return partition;
  const message = `the disk in ${quote(disk.directory)} has no partition table with one partition, in which the filesystem would be`;
  throw new MosaicError("DAMAGED", message, { path: disk.directory });
}

/** What the users of a volume see of its disk. Throws DAMAGED. */
export function windowOf(disk: Disk, kind: Kind): Required<Window> {
  if (kind === "disk") return { offset: 0, size: disk.sizeSectors * SECTOR };
  const { start, sectors } = requirePartition(disk);
  return { offset: start * SECTOR, size: sectors * SECTOR };
}

/** Where filesystems have their magic number, in bytes from the start of the partition. */
const MAGIC: readonly (readonly [string, number, string])[] = [
  ["ext4", 1080, "53ef"],
  ["xfs", 0, Buffer.from("XFSB").toString("hex")],
  ["btrfs", 65536 + 64, Buffer.from("_BHRfS_M").toString("hex")],
];

/** The filesystem in the partition of a disk by its magic number, as the files tell it, without a daemon; undefined where there is none, or several. */
export function guessFilesystem(disk: Disk): string | undefined {
  const start = requirePartition(disk).start * SECTOR;
  const isThere = (at: number, magic: string) =>
    readContent(disk.deltas, start + at, magic.length / 2).toString("hex") === magic;
  const found = MAGIC.filter(([, at, magic]) => isThere(at, magic));
  return found.length === 1 ? found[0]?.[0] : undefined;
}
