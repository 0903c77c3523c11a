import { MosaicError } from "../../base/errors.ts";
import { Deferred } from "../../location/deferred.ts";
import type { Kind } from "../../location/record.ts";
import { replaceFile } from "../../system/durablefile.ts";
import { findStatus, removeFile, syncPath } from "../../system/files.ts";
import type { Steps } from "../../system/steps.ts";
import {
  commandDaemon,
  describeWindow,
  exportPathOf,
  listNodes,
  splitNode,
} from "../../system/storagedaemon.ts";
import { locate, readContent } from "./content.ts";
import { DESCRIPTOR_NAME, IMAGE_NAME } from "./descriptor.ts";
import { formatOverlaid } from "./descriptortext.ts";
import { type Disk, readDisk, readTables, requirePartition, windowOf } from "./disk.ts";
import { ImageEdit } from "./edit.ts";
import { HEAD_SECTORS, resizeTables, TAIL_SECTORS } from "./gpt.ts";
import { SECTOR, withImage } from "./header.ts";
import { makeImage } from "./make.ts";
import { describeLayers } from "./nodes.ts";
import { sectorsFor } from "./size.ts";
import { TakeBack } from "./takeback.ts";
import { formatXml } from "./xml.ts";

// QEMU cannot make an image larger that it has open. So a larger one, as of a snapshot of ploop, is laid over it: it has
// only the blocks with the partition tables, in which nothing of the filesystem is.

const SHOW_DEADLINE_MS = 10_000;
const POLL_MS = 20;

/**
 * Makes a disk larger that the daemon of an export has open; its device is to be told after that. `undo` takes it back, but for the
 * image that was laid over the others, which stays. Throws BUSY for disks whose blocks do not allow it.
 */
export async function growInUse(
  steps: Steps,
  exportDirectory: string,
  directory: string,
  kind: Kind,
  sizeBytes: number,
  undo: TakeBack,
): Promise<void> {
  const old = readDisk(directory);
  const size = windowOf(old, kind);
  const sectors = sectorsFor(old, kind, sizeBytes);
  if (sectors > old.sizeSectors || (kind === "fs" && !hasTables(old)))
    await layOver(steps, old, kind, sectors);
  const disk = steps.planning ? old : readDisk(directory);
  await layInDaemon(steps, exportDirectory, disk, kind);
  if (kind === "fs" && !steps.planning) await writeTables(steps, disk, sizeBytes, undo);
  const show = (bytes: number) => showWindow(steps, exportDirectory, disk, { ...size, size: bytes });
  undo.defer(() => show(size.size));
  await show(sizeBytes);
}

/** The larger image, and the descriptor that names it: from then on it is the top, also when the daemon does not know it yet. */
async function layOver(steps: Steps, disk: Disk, kind: Kind, sectors: number): Promise<void> {
  const { directory, descriptor, deltas } = disk;
  const { blockSectors } = deltas[0].header;
  requireOverlayable(disk, kind);
  // One that has room already lacks the blocks of the tables: those of a larger one are nobody's.
  const size = sectors > disk.sizeSectors ? sectors : sectors + blockSectors;
  const file = `${IMAGE_NAME}.{${crypto.randomUUID()}}`;
  const path = `${directory}/${file}`;
  await using undo = new Deferred();
  const back = new TakeBack();
  undo.defer(() => back.run());
  back.defer(async () => {
    if (findStatus(path)) await removeFile(steps, path);
  });
  const bytes = blockSectors * SECTOR;
  const blocks = new Map([
    [0, readContent(deltas, 0, bytes)],
    [size / blockSectors - 1, Buffer.alloc(bytes)],
  ]);
  await makeImage(steps, path, size, kind === "fs" ? blocks : new Map(), blockSectors);
  await syncPath(steps, directory);
  const xml = `${directory}/${DESCRIPTOR_NAME}`;
  back.defer(() => replaceFile(steps, xml, formatXml(descriptor.root)));
  await replaceFile(steps, xml, formatOverlaid(descriptor.root, file, `{${crypto.randomUUID()}}`, size));
  undo.cancel();
}

/** A block with a table may have nothing of the filesystem in it, as that is written at the same time. */
function requireOverlayable({ directory, deltas, sizeSectors }: Disk, kind: Kind): void {
  const { format, blockSectors } = deltas[0].header;
  const isFree = kind === "disk" || requirePartition(readDisk(directory)).start >= blockSectors;
  if (format === 2 && isFree && sizeSectors % blockSectors === 0) return;
  const message = "its disk is of a shape that cannot grow in use: unmount it and detach it first";
  throw new MosaicError("BUSY", message, { path: directory });
}

/** Whether the image that is written has the blocks of both tables. */
function hasTables({ deltas: [top], sizeSectors }: Disk): boolean {
  const places = [0, (sizeSectors - TAIL_SECTORS) * SECTOR];
  return withImage(top.path, (fd) => places.every((place) => locate(fd, top, place) !== undefined));
}

/** Lets the daemon write the image that is the top, if it does not do it already. */
async function layInDaemon(steps: Steps, exportDirectory: string, disk: Disk, kind: Kind): Promise<void> {
  const { layers } = describeLayers(disk, kind, false);
  const known = steps.planning ? [] : await listNodes(exportDirectory);
  for (const [index, layer] of layers.entries()) {
    const overlay = `image${index}`;
    if (index === 0 || known.includes(overlay)) continue;
    const parts = splitNode({ ...layer, "read-only": false, file: { ...layer.file, "read-only": false } });
    await commandDaemon(steps, exportDirectory, [
      ...parts.map((part) => ({ execute: "blockdev-add", arguments: part })),
      { execute: "blockdev-snapshot", arguments: { node: `image${index - 1}`, overlay } },
    ]);
  }
}

/** The tables lie in blocks that the top has and nobody writes: QEMU keeps nothing of them, so the file is the place to write. */
async function writeTables(steps: Steps, disk: Disk, sizeBytes: number, undo: TakeBack): Promise<void> {
  const { start } = requirePartition(disk);
  const tables = resizeTables(readTables(disk), disk.sizeSectors, { start, sectors: sizeBytes / SECTOR });
  if (!tables) return;
  const [top, ...below] = disk.deltas;
  const edit = new ImageEdit(top, below);
  edit.write((disk.sizeSectors - TAIL_SECTORS) * SECTOR, tables.tail);
  edit.write(0, tables.head.subarray(0, HEAD_SECTORS * SECTOR));
  await edit.apply(steps, `sgdisk --move-second-header ${top.path}`, undo);
}

/** Shows another part of the disk. The kernel asks for the length of the file again when what it knows is a second old. */
async function showWindow(
  steps: Steps,
  exportDirectory: string,
  disk: Disk,
  window: { readonly offset: number; readonly size: number },
): Promise<void> {
  const options = [describeWindow(`image${disk.deltas.length - 1}`, window, false)];
  await commandDaemon(steps, exportDirectory, [{ execute: "blockdev-reopen", arguments: { options } }]);
  if (steps.planning) return;
  const deadline = performance.now() + SHOW_DEADLINE_MS;
  for (;;) {
    const shown = Number(findStatus(exportPathOf(exportDirectory))?.size);
    if (shown === window.size) return;
    if (performance.now() > deadline) {
      const message = `the storage daemon shows ${shown} bytes after it was told to show ${window.size}`;
      throw new MosaicError("TOOL_FAILED", message, { directory: exportDirectory });
    }
    await Bun.sleep(POLL_MS);
  }
}
