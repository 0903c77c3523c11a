import { join } from "node:path";
import { type Bed, run } from "./beds.ts";

/** The content of a volume's image as a raw file: the image itself, or a copy that qemu-img makes of it and of what lies below. */
export function rawImageOf(bed: Bed, name: string): string {
  const path = join(bed.location, name);
  if (bed.row.backend !== "qcow2") return path;
  const copy = join(bed.directory, `${name.replaceAll("/", "-")}.raw`);
  run("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, copy);
  return copy;
}
