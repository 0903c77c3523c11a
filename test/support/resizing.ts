import { expect } from "bun:test";
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, openMosaic, type VolumeRecord } from "../../src/index.ts";
import { type Bed, daemonsBelow, run } from "./beds.ts";
import { takeState } from "./checking.ts";
import { listBedDevices } from "./devices.ts";
import { until } from "./expect.ts";
import { rawImageOf } from "./rawimage.ts";

// Volumes that are resized: made with data in them, and looked at by the filesystems' own tools.

export const MIB = 1024 ** 2;

/** A filesystem inside a volume. */
export type Inside = "ext4" | "xfs" | "btrfs";

/** A size that a volume with each of them is made with, and can be brought back to. */
export const START: Record<Inside, number> = { ext4: 32 * MIB, xfs: 300 * MIB, btrfs: 256 * MIB };

const CHECK: Record<Inside, readonly string[]> = {
  ext4: ["e2fsck", "-f", "-n"],
  xfs: ["xfs_repair", "-n"],
  btrfs: ["btrfs", "check", "--readonly"],
};

/** Whether this process may grow an ext4 that is mounted: capabilities(7), CAP_SYS_RESOURCE. */
export function canGrowMountedExt4(): boolean {
  const CAP_SYS_RESOURCE = 24n;
  const effective = /^CapEff:\s*(\w+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
}

/** Opens the bed's mosaic, whose new volumes have this filesystem inside. */
export function openWith(bed: Bed, inside: Inside): Promise<Mosaic> {
  return openMosaic(bed.writeConfig(inside, [`default_fs: ${inside}`]));
}

/** Makes a volume and writes random bytes into its file `data`; gives their checksum. */
export async function makeVolume(
  bed: Bed,
  mosaic: Mosaic,
  sizeBytes: number,
  megabytes = 2,
): Promise<string> {
  await mosaic.createVolume("web", { kind: "fs", sizeBytes });
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  const file = join(mountPoint, "data");
  run("dd", "if=/dev/urandom", `of=${file}`, "bs=1M", `count=${megabytes}`, "conv=fsync", "status=none");
  const sum = checksum(file);
  await unmount(bed, mosaic, mountPoint);
  return sum;
}

/** Unmounts it and waits until its device is gone. */
export async function unmount(bed: Bed, mosaic: Mosaic, mountPoint: string): Promise<void> {
  await mosaic.unmountVolume("web", mountPoint);
  await waitForDevices(bed);
}

/** Waits until no image of the bed has a loop device. */
export function waitForDevices(bed: Bed): Promise<void> {
  return until("the devices to go", () => listBedDevices(bed).length === 0);
}

/** The checksum of a file's content. */
export function checksum(path: string): string {
  return run("sha256sum", path).split(" ")[0] ?? "";
}

/** The size of the filesystem in an image or on a device, as its own tool reads it. */
export function readInsideBytes(inside: Inside, path: string): number {
  const number = (text: string, pattern: RegExp) => Number(pattern.exec(text)?.[1]);
  if (inside === "ext4") {
    const text = run("dumpe2fs", "-h", path);
    return number(text, /^Block count:\s*(\d+)$/m) * number(text, /^Block size:\s*(\d+)$/m);
  }
  if (inside === "xfs") {
    const text = run("xfs_db", "-r", "-c", "sb 0", "-c", "print dblocks blocksize", path);
    return number(text, /^dblocks = (\d+)$/m) * number(text, /^blocksize = (\d+)$/m);
  }
  return number(run("btrfs", "inspect-internal", "dump-super", path), /^total_bytes\s+(\d+)$/m);
}

/** The volume has this size in every place where one is written, its filesystem is sound, and its data is whole. */
export async function expectSize(
  bed: Bed,
  mosaic: Mosaic,
  inside: Inside,
  sizeBytes: number,
  sum: string,
): Promise<VolumeRecord> {
  await waitForDevices(bed);
  const image = rawImageOf(bed, "web");
  const record = await mosaic.getVolume("web");
  expect([record.sizeBytes, statSync(image).size]).toEqual([sizeBytes, sizeBytes]);
  expectFilled(inside, readInsideBytes(inside, image), sizeBytes);
  run(...CHECK[inside], image);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  expect(checksum(join(mountPoint, "data"))).toBe(sum);
  await unmount(bed, mosaic, mountPoint);
  return record;
}

/** Makes the image of a volume larger and nothing else, as a growth does that is killed after its first step. */
export function growImageOnly(bed: Bed, sizeBytes: number): void {
  const image = join(bed.location, "web");
  const shown = daemonsBelow(bed.location)[0]?.path;
  if (bed.row.backend === "qcow2" && shown === undefined)
    run("qemu-img", "resize", "-q", "-f", "qcow2", image, String(sizeBytes));
  else run("truncate", "-s", String(sizeBytes), shown ?? image);
}

/** A filesystem fills its volume; ext4 and XFS leave a rest that is too small for a group of blocks. */
export function expectFilled(inside: Inside, insideBytes: number, sizeBytes: number): void {
  const rest = { ext4: MIB / 2, xfs: 64 * 4096, btrfs: 0 };
  expect(insideBytes).toBeLessThanOrEqual(sizeBytes);
  expect(insideBytes).toBeGreaterThanOrEqual(sizeBytes - rest[inside]);
}

/** All that a refused resize must leave as it was, with the content of an image that nobody writes. */
export function takeWhole(bed: Bed): object {
  const image = join(bed.location, "web");
  return { ...takeState(bed), content: sumSparse(image), inode: statSync(image).ino };
}

/**
 * The checksum of what a file holds, with its size, times, owner and mode. Zeros are left out, not holes: whether
 * cached pages of allocated space that was never written count as data changes with time, see lseek(2), SEEK_HOLE.
 */
export function sumSparse(path: string): string {
  const zeros = Buffer.alloc(MIB);
  const piece = Buffer.alloc(MIB);
  const hash = new Bun.CryptoHasher("sha256");
  const { size, mtimeMs, ctimeMs, uid, gid, mode } = statSync(path);
  hash.update(JSON.stringify([size, mtimeMs, ctimeMs, uid, gid, mode]));
  const file = openSync(path, "r");
  try {
    for (let offset = 0; offset < size; offset += MIB) {
      const bytes = piece.subarray(0, readSync(file, piece, 0, MIB, offset));
      if (!bytes.equals(zeros.subarray(0, bytes.length))) hash.update(`${offset}`).update(bytes);
    }
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}
