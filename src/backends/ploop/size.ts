import { dirname } from "node:path";
import { MosaicError } from "../../base/errors.ts";
import { Deferred } from "../../location/deferred.ts";
import type { Kind } from "../../location/record.ts";
import { removeTree } from "../../location/removal.ts";
import { replaceFile } from "../../system/durablefile.ts";
import { exchangePaths, findStatus } from "../../system/files.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";
import { copyDisk } from "./copy.ts";
import { DESCRIPTOR_NAME } from "./descriptor.ts";
import { formatResized } from "./descriptortext.ts";
import { type Disk, readDisk, readTables, requirePartition } from "./disk.ts";
import { ImageEdit } from "./edit.ts";
import { resizeTables, TAIL_SECTORS } from "./gpt.ts";
import { SECTOR } from "./header.ts";
import type { TakeBack } from "./takeback.ts";
import { formatXml } from "./xml.ts";

/** Makes a disk larger that nobody has open, where it is; `undo` takes it back. */
export async function growDisk(
  steps: Steps,
  directory: string,
  kind: Kind,
  sizeBytes: number,
  undo: TakeBack,
): Promise<void> {
  const disk = readDisk(directory);
  const sectors = sectorsFor(disk, kind, sizeBytes);
  const [top, ...below] = disk.deltas;
  const tables = kind === "fs" ? resizedTables(disk, sectors, sizeBytes) : undefined;
  const descriptor = `${directory}/${DESCRIPTOR_NAME}`;
  const text = shellQuote(["ploop", "resize", "-s", `${sectors / 2}K`, descriptor]);
  const image = new ImageEdit(top, below);
  if (tables) image.write((sectors - TAIL_SECTORS) * SECTOR, tables.tail);
  image.resize(sectors);
  await image.apply(steps, text, undo);
  const { root } = disk.descriptor;
  undo.defer(() => replaceFile(steps, descriptor, formatXml(root)));
  await replaceFile(steps, descriptor, formatResized(root, sectors));
  if (!tables || steps.planning) return;
  // Until now the partition is the old one, by the table at the start, and nothing in it has moved.
  const [grown, ...rest] = readDisk(directory).deltas;
  const head = new ImageEdit(grown, rest);
  head.write(0, tables.head);
  await head.apply(steps, shellQuote(["sgdisk", "--move-second-header", top.path]), undo);
}

/** Makes a disk smaller that nobody knows yet: one that holds only the start of it takes its place. */
export async function cutDisk(
  steps: Steps,
  directory: string,
  sizeBytes: number,
  lockFd: number,
): Promise<void> {
  const aside = `${dirname(directory)}/cut`;
  await using closing = new Deferred();
  closing.defer(async () => {
    if (findStatus(aside)) await removeTree(steps, aside);
  });
  // In a plan there is nothing to be copied.
  if (steps.planning) return;
  await copyDisk(steps, { path: directory, record: { kind: "fs" } }, aside, lockFd, sizeBytes);
  await exchangePaths(steps, aside, directory);
}

/** The size of the disk for a volume of this size, a whole number of its blocks. Throws INVALID_ARGUMENT. */
export function sectorsFor(disk: Disk, kind: Kind, sizeBytes: number): number {
  const { blockSectors } = disk.deltas[0].header;
  const around = kind === "fs" ? requirePartition(disk).start + TAIL_SECTORS : 0;
  const sectors = Math.ceil((sizeBytes / SECTOR + around) / blockSectors) * blockSectors;
  if (kind === "fs" || sectors * SECTOR === sizeBytes) return Math.max(sectors, disk.sizeSectors);
  const message = `invalid size ${sizeBytes}: the blocks of this disk have ${blockSectors * SECTOR} bytes, and it is a whole number of them`;
  throw new MosaicError("INVALID_ARGUMENT", message, { sizeBytes, blockBytes: blockSectors * SECTOR });
}

function resizedTables(disk: Disk, sectors: number, sizeBytes: number) {
  const { start } = requirePartition(disk);
  return resizeTables(readTables(disk), sectors, { start, sectors: sizeBytes / SECTOR });
}
