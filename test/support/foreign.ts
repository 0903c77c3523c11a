import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { listObjects } from "../../src/backends/dmthin/objects.ts";
import { isSubvolume } from "../../src/system/btrfs.ts";
import { findMappedDevice, listMappedUsers } from "../../src/system/devicemapper.ts";
import { readOwnMounts } from "../../src/system/mounts.ts";
import { type Bed, dmsetup, endDaemonsBelow, hasImages, run } from "./beds.ts";
import { makeRawDisk } from "./ploopdisk.ts";
import { sendToPool } from "./pools.ts";
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
  if (bed.isPool) makeForeignThin(bed, path, sizeBytes);
  if (bed.row.backend === "qcow2") {
    run("mv", path, `${path}.raw`);
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", `${path}.raw`, path);
    run("rm", `${path}.raw`);
  }
  if (bed.row.backend === "ploop") makeForeignDisk(path);
  return path;
}

/** Puts what is in a raw file into the partition of a new disk. */
function makeForeignDisk(path: string): void {
  run("mv", path, `${path}.raw`);
  makeRawDisk(path, `${path}.raw`);
  run("rm", `${path}.raw`);
}

/** A device of the pool that holds ext4, and an object without a record that names it. */
function makeForeignThin(bed: Bed, path: string, sizeBytes: number): void {
  const pool = basename(bed.configuredLocation);
  const id = FOREIGN_ID + foreignCount++;
  dmsetup("message", pool, "0", `create_thin ${id}`);
  const name = `${pool}-foreign`;
  dmsetup("create", name, "--table", `0 ${sizeBytes / 512} thin ${bed.configuredLocation} ${id}`);
  run("mkfs.ext4", "-q", `/dev/mapper/${name}`);
  dmsetup("remove", "--retry", name);
  const [transaction] = dmsetup("status", pool).split(" ").slice(3);
  writeFileSync(path, `${JSON.stringify({ version: 1, id, transaction: Number(transaction) })}\n`);
}

const FOREIGN_ID = 1_000_000;
let foreignCount = 0;

/** Brings a bed back to its empty state. */
export function clearBed(bed: Bed): void {
  const mounts = readOwnMounts().map((mount) => mount.mountPoint);
  const below = mounts.filter((path) => path.startsWith(`${bed.directory}/`) && path !== bed.location);
  for (const path of below.reverse()) run("umount", path);
  if (bed.isPool) {
    clearPool(bed);
    return;
  }
  for (const image of loopImagesBelow(bed.location)) {
    const device = run("losetup", "-n", "-O", "NAME", "-j", image).trim();
    if (device !== "") run("losetup", "-d", device);
  }
  endDaemonsBelow(bed.location);
  for (const name of readdirSync(bed.location))
    removeObject(join(bed.location, name), bed.row.filesystem === "btrfs");
}

/** The devices go with the names, as far as they are there; the pool and its transaction id stay. */
function clearPool(bed: Bed): void {
  const pool = basename(bed.configuredLocation);
  for (const { name } of listMappedUsers(findMappedDevice({ name: pool })?.number ?? ""))
    dmsetup("remove", "--retry", name);
  for (const { id } of listObjects(bed.location)) deleteThin(pool, id);
  for (const name of readdirSync(bed.location)) rmSync(join(bed.location, name), { recursive: true });
}

/** A device that goes keeps its part of the pool for a moment. */
function deleteThin(pool: string, id: number): void {
  for (let tries = 0; sendToPool(pool, `delete ${id}`) === "EBUSY"; tries++) {
    if (tries === 500) throw new Error(`the device ${id} of the pool ${pool} stays in use`);
    Bun.sleepSync(20);
  }
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
