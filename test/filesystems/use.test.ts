import { afterEach, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type FilesystemName, filesystemOf } from "../../src/filesystems/registry.ts";
import { type FilesystemUse, type Mosaic, openMosaic } from "../../src/index.ts";
import { directSteps } from "../../src/system/steps.ts";
import { Holders } from "../e2e/holders.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { MIB, openWith, START, unmount } from "../support/resizing.ts";

// What is used inside a volume, compared with what df and the filesystems' own tools say.

describeOnBed(BEDS.loop[1], (bed) => {
  const holders = new Holders();
  afterEach(async () => {
    await holders.release();
    clearBed(bed);
  });
  for (const inside of ["ext4", "xfs", "btrfs"] as const) {
    test(`${inside} that nobody uses tells what df and its tools say`, () => compareIdle(bed, inside));
    test(`${inside} that is mounted, here or elsewhere or under another mount, tells what df says`, () =>
      compareMounted(bed, inside, holders));
    test(`${inside} tells nothing while somebody may write it`, () => tellNothing(bed, inside, holders));
    test(`${inside} with a log to replay tells nothing`, () => passDirty(bed, inside));
    test(`${inside} that was overwritten tells nothing, and the rest is told`, () => passWiped(bed, inside));
  }
  test("ext4 that was resized by its tools tells what df says", () => compareResized(bed));
  test("ext4 without a journal tells nothing when it was cut off", () => passWithoutJournal(bed));
  test("disks have nothing inside", () => passDisk(bed));
});

async function readInside(mosaic: Mosaic): Promise<FilesystemUse | null> {
  return (await mosaic.statVolume("web")).inside;
}

/** What a mounted filesystem has and what is used of it, by stat(1). */
function readMount(path: string, ...prefix: readonly string[]): FilesystemUse {
  const text = run(...prefix, "stat", "-f", "-c", "%S %b %f", path);
  const [unit = 0, blocks = 0, free = 0] = text.split(" ").map(Number);
  return { sizeBytes: unit * blocks, usedBytes: unit * (blocks - free) };
}

/** What a read-only mount says of an image: nothing is held back there. */
function readReadOnly(bed: Bed): FilesystemUse {
  const mountPoint = bed.makeMountPoint();
  run("mount", "-o", "loop,ro", join(bed.location, "web"), mountPoint);
  try {
    return readMount(mountPoint);
  } finally {
    run("umount", mountPoint);
  }
}

/** What btrfs itself says is used: of all kinds of data, each byte once. */
function readBtrfsUsed(bed: Bed): number {
  const mountPoint = bed.makeMountPoint();
  run("mount", "-o", "loop,ro", join(bed.location, "web"), mountPoint);
  try {
    const rows = run("btrfs", "filesystem", "df", "--raw", mountPoint).trim().split("\n");
    const kinds = rows.filter((row) => !row.startsWith("GlobalReserve"));
    expect(kinds.length).toBeGreaterThanOrEqual(3);
    return kinds.reduce((sum, row) => sum + Number(/used=(\d+)/.exec(row)?.[1]), 0);
  } finally {
    run("umount", mountPoint);
  }
}

/** What XFS holds back for its lists of free blocks: xfs_alloc_set_aside() in linux/fs/xfs/libxfs/xfs_alloc.c. */
function readHeldBack(bed: Bed, inside: FilesystemName): number {
  if (inside !== "xfs") return 0;
  const text = run("xfs_db", "-r", "-c", "sb 0", "-c", "print agcount blocksize", join(bed.location, "web"));
  const [groups = 0, blockBytes = 0] = [...text.matchAll(/= (\d+)/g)].map(([, number]) => Number(number));
  expect(groups).toBeGreaterThan(0);
  return groups * 8 * blockBytes;
}

async function expectIdle(bed: Bed, inside: FilesystemName, mosaic: Mosaic): Promise<FilesystemUse> {
  const use = await readInside(mosaic);
  const { sizeBytes, usedBytes: mounted } = readReadOnly(bed);
  const usedBytes = inside === "btrfs" ? readBtrfsUsed(bed) : mounted - readHeldBack(bed, inside);
  expect(use).toEqual({ sizeBytes, usedBytes });
  expect(await filesystemOf(inside).readUse(directSteps, join(bed.location, "web"))).toEqual(
    use as FilesystemUse,
  );
  return use as FilesystemUse;
}

async function compareIdle(bed: Bed, inside: FilesystemName): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: START[inside] });
  const empty = await expectIdle(bed, inside, mosaic);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  writeFileSync(join(mountPoint, "file"), Buffer.alloc(5 * MIB, 1));
  await unmount(bed, mosaic, mountPoint);
  const filled = await expectIdle(bed, inside, mosaic);
  expect(filled.sizeBytes).toBe(empty.sizeBytes);
  expect(Math.abs(filled.usedBytes - empty.usedBytes - 5 * MIB)).toBeLessThan(MIB / 4);
  await mosaic.mountVolume("web", mountPoint);
  rmSync(join(mountPoint, "file"));
  await unmount(bed, mosaic, mountPoint);
  const removed = await expectIdle(bed, inside, mosaic);
  expect(Math.abs(removed.usedBytes - empty.usedBytes)).toBeLessThan(MIB / 4);
  await mosaic.resizeVolume("web", 2 * START[inside]);
  const grown = await expectIdle(bed, inside, mosaic);
  expect(grown.sizeBytes).toBeGreaterThan(1.8 * empty.sizeBytes);
}

async function compareMounted(bed: Bed, inside: FilesystemName, holders: Holders): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: START[inside] });
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  const empty = readMount(mountPoint);
  writeFileSync(join(mountPoint, "file"), Buffer.alloc(5 * MIB, 1), { flush: true });
  run("sync", "-f", mountPoint);
  const filled = readMount(mountPoint);
  expect(filled.usedBytes - empty.usedBytes).toBeGreaterThan(4 * MIB);
  expect(await readInside(mosaic)).toEqual(filled);
  run("mount", "-t", "tmpfs", "-o", "size=1M", "none", mountPoint);
  expect(await readInside(mosaic)).toBeNull();
  const second = bed.makeMountPoint();
  await mosaic.mountVolume("web", second);
  expect(await readInside(mosaic)).toEqual(filled);
  await mosaic.unmountVolume("web", second);
  run("umount", mountPoint);
  const pid = await holders.holdInNamespace(":");
  run("umount", mountPoint);
  expect(await readInside(mosaic)).toEqual(
    readMount(mountPoint, "nsenter", "--mount", "--target", String(pid)),
  );
  expect(await readInside(mosaic)).toEqual(filled);
}

async function tellNothing(bed: Bed, inside: FilesystemName, holders: Holders): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: START[inside] });
  expect(await readInside(mosaic)).not.toBeNull();
  await holders.hold('exec 7<>"$1"', join(bed.location, "web"));
  expect(await readInside(mosaic)).toBeNull();
  await holders.release();
  await mosaic.attachVolume("web");
  expect(await readInside(mosaic)).toBeNull();
  await mosaic.detachVolume("web");
  expect(await readInside(mosaic)).not.toBeNull();
}

/** Replaces an image by what a power cut would leave now, and ends the use of it. */
async function cutPower(bed: Bed, end: () => Promise<unknown>): Promise<void> {
  const [image, copy] = [join(bed.location, "web"), join(bed.directory, "copy")];
  run("cp", "--sparse=always", image, copy);
  await end();
  run("cp", "--sparse=always", copy, image);
  rmSync(copy);
}

async function passDirty(bed: Bed, inside: FilesystemName): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: START[inside] });
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  run("sync", "-f", mountPoint);
  writeFileSync(join(mountPoint, "late"), "just written", { flush: true });
  await cutPower(bed, () => unmount(bed, mosaic, mountPoint));
  const image = join(bed.location, "web");
  expect(await filesystemOf(inside).readUse(directSteps, image)).toBeUndefined();
  expect(await readInside(mosaic)).toBeNull();
  await mosaic.mountVolume("web", mountPoint);
  await unmount(bed, mosaic, mountPoint);
  await expectIdle(bed, inside, mosaic);
}

async function passWiped(bed: Bed, inside: FilesystemName): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: START[inside] });
  const image = join(bed.location, "web");
  run("dd", "if=/dev/urandom", `of=${image}`, "bs=1M", "count=8", "conv=notrunc", "status=none");
  const details = await mosaic.statVolume("web");
  expect(details).toMatchObject({ inside: null, virtualBytes: START[inside], holders: [] });
}

/** resize2fs leaves the superblock without what the tables take, which only a mount writes again. */
async function compareResized(bed: Bed): Promise<void> {
  await using mosaic = await openWith(bed, "ext4");
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: 2 * START.ext4 });
  await mosaic.resizeVolume("web", START.ext4, { shrink: true });
  const use = await expectIdle(bed, "ext4", mosaic);
  expect(use.usedBytes).toBeLessThan(MIB);
  expect(use.sizeBytes).toBeLessThan(START.ext4);
}

async function passWithoutJournal(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const image = join(bed.location, "web");
  run("truncate", "-s", String(START.ext4), image);
  run("mkfs.ext4", "-q", "-O", "^has_journal", image);
  await mosaic.adoptVolume("web", "fs");
  await expectIdle(bed, "ext4", mosaic);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  writeFileSync(join(mountPoint, "file"), Buffer.alloc(5 * MIB, 1), { flush: true });
  await cutPower(bed, () => unmount(bed, mosaic, mountPoint));
  expect(await readInside(mosaic)).toBeNull();
}

async function passDisk(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", { kind: "disk", sizeBytes: START.ext4 });
  run("mkfs.ext4", "-q", join(bed.location, "web"));
  expect(await mosaic.statVolume("web")).toMatchObject({ inside: null, virtualBytes: START.ext4 });
}
