import { join } from "node:path";
import { readDisk, readTables } from "../../src/backends/ploop/disk.ts";
import { findPartition } from "../../src/backends/ploop/gpt.ts";
import { describeNested } from "../../src/backends/ploop/nodes.ts";
import { type Bed, run } from "./beds.ts";

/** The content of a volume's image as a raw file: the image itself, or a copy that qemu-img makes of it and of what lies below. */
export function rawImageOf(bed: Bed, name: string): string {
  const path = join(bed.location, name);
  const copy = join(bed.directory, `${name.replaceAll("/", "-")}.raw`);
  if (bed.row.backend === "qcow2") run("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, copy);
  else if (bed.row.backend === "ploop") convertDisk(path, copy);
  else return path;
  return copy;
}

/** The partition of a disk where it has one, else all of it. */
function convertDisk(path: string, copy: string): void {
  const disk = readDisk(path);
  const kind = findPartition(readTables(disk), disk.sizeSectors) ? "fs" : "disk";
  run(
    "qemu-img",
    "convert",
    "-U",
    "-O",
    "raw",
    `json:${JSON.stringify(describeNested(disk, kind, true))}`,
    copy,
  );
}
