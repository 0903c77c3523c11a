import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { isSubvolume } from "../../src/system/btrfs.ts";
import { readOwnMounts } from "../../src/system/mounts.ts";
import { type Bed, endDaemonsBelow, hasImages, run } from "./beds.ts";
import { loopImagesBelow } from "./snapshot.ts";

// What a test does behind mosaic's back, by the kernel's own tools.

/** Makes an object that could be a volume of the bed, without a record; gives its path. */
export function makeForeign(bed: Bed, name: string, sizeBytes = 16 * 1024 ** 2): string {
  const path = join(bed.location, name);
  mkdirSync(dirname(path), { recursive: true });
  if (bed.row.backend === "plain") mkdirSync(path);
  if (bed.row.backend === "btrfs") run("btrfs", "-q", "subvolume", "create", path);
  if (hasImages(bed.row)) {
    run("truncate", "-s", String(sizeBytes), path);
    run("mkfs.ext4", "-q", path);
  }
  if (bed.row.backend === "qcow2") {
    run("mv", path, `${path}.raw`);
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", `${path}.raw`, path);
    run("rm", `${path}.raw`);
  }
  return path;
}

/** Brings a bed back to its empty state. */
export function clearBed(bed: Bed): void {
  const mounts = readOwnMounts().map((mount) => mount.mountPoint);
  const below = mounts.filter((path) => path.startsWith(`${bed.directory}/`) && path !== bed.location);
  for (const path of below.reverse()) run("umount", path);
  for (const image of loopImagesBelow(bed.location)) {
    const device = run("losetup", "-n", "-O", "NAME", "-j", image).trim();
    if (device !== "") run("losetup", "-d", device);
  }
  endDaemonsBelow(bed.location);
  for (const name of readdirSync(bed.location))
    removeObject(join(bed.location, name), bed.row.filesystem === "btrfs");
}

function removeObject(path: string, isOnBtrfs: boolean): void {
  if (isOnBtrfs) removeSubvolumes(path);
  rmSync(path, { recursive: true, force: true });
}

function removeSubvolumes(path: string): void {
  if (!existsSync(path)) return;
  const isDirectory = Bun.spawnSync(["test", "-d", path, "-a", "!", "-L", path]).exitCode === 0;
  if (!isDirectory) return;
  for (const name of readdirSync(path)) removeSubvolumes(join(path, name));
  if (!isSubvolume(path)) return;
  Bun.spawnSync(["btrfs", "property", "set", "-f", "-t", "subvol", path, "ro", "false"]);
  run("btrfs", "-q", "subvolume", "delete", path);
}
