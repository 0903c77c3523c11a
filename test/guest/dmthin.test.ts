import { afterEach, describe, expect, test } from "bun:test";
import { fsyncSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { closeFd, openDirectory } from "../../src/system/files.ts";
import { ioctl } from "../../src/system/libc.ts";
import { BEDS, type Bed, describeOnBed, dmsetup, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import {
  expectPoolSame,
  killAfter,
  listIds,
  listProblems,
  poolOf,
  readIds,
  trySend,
} from "../support/pools.ts";

// Volumes of a thin pool: what kills leave, ids, sizes, and what was in a block before.

const MIB = 1024 ** 2;
const FS = { kind: "fs", sizeBytes: 16 * MIB } as const;
const DISK = { kind: "disk", sizeBytes: 8 * MIB } as const;

describeOnBed(BEDS.dmthin[0], (bed) => {
  afterEach(() => clearBed(bed));
  describe("kills", () => testKills(bed));
  test("the lowest free id is used, and devices of others are respected", () => testIds(bed));
  describe("sizes", () => testSizes(bed));
  test.each(["ext4", "xfs"] as const)("a clone of %s that was not unmounted is whole", (inside) =>
    testDirtyLog(bed, inside),
  );
  test("what a dropped volume held is never shown in a new one", () => testZeroing(bed));
});

function testKills(bed: Bed): void {
  test("a create that is killed is undone by the next, and no id is lost", async () => {
    await using mosaic = await openMosaic(bed.config);
    for (const step of [/set_transaction_id/, />.*volume/, /create_thin/]) {
      killAfter(bed, step, "create", { kind: "disk", volume: "new", sizeBytes: 8 * MIB });
      expect(mosaic.haveVolume("new").exists).toBe(false);
    }
    await mosaic.createVolume("new", DISK);
    expect(expectPoolSame(bed)).toEqual([1]);
    expect(await listProblems(mosaic)).toEqual([]);
  });

  test("a clone that is killed leaves no origin suspended", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    for (const step of [/dmsetup suspend/, /create_snap/]) {
      killAfter(bed, step, "clone", { origin: "web", volume: "copy" });
      writeFileSync(join(mountPoint, "file"), `written after ${step}`);
      run("sync", "-f", mountPoint);
    }
    await mosaic.unmountVolume("web", mountPoint);
    await mosaic.cloneVolume("web", "copy");
    expect(expectPoolSame(bed)).toHaveLength(2);
    expect(await listProblems(mosaic)).toEqual([]);
  });

  test("a drop that is killed is finished by the next, unless somebody else has the id by then", async () => {
    await using mosaic = await openMosaic(bed.config);
    const drop = (step: RegExp) => killAfter(bed, step, "drop", { volume: "web" });
    await mosaic.createVolume("web", DISK);
    drop(/set_transaction_id/);
    await mosaic.createVolume("web", DISK);
    expect(expectPoolSame(bed)).toEqual([1]);
    drop(/0 'delete/);
    // What the killed run had sent may be on its way still.
    while (!trySend(poolOf(bed), "create_thin 1")) await Bun.sleep(20);
    await mosaic.createVolume("other", DISK);
    expect(listIds(bed)).toEqual([2]);
    expect(readIds(bed)).toEqual([1, 2]);
    expect(await listProblems(mosaic)).toEqual([]);
    dmsetup("message", poolOf(bed), "0", "delete 1");
  });
}

async function testIds(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  for (const name of ["a", "b", "c"]) await mosaic.createVolume(name, DISK);
  await mosaic.dropVolume("b");
  dmsetup("message", poolOf(bed), "0", "create_thin 2");
  await mosaic.createVolume("d", DISK);
  expect(listIds(bed)).toEqual([1, 3, 4]);
  expect(readIds(bed)).toEqual([1, 2, 3, 4]);
  const { problems, findings } = await mosaic.check();
  expect(problems).toBe(0);
  expect(findings).toContainEqual(expect.objectContaining({ code: "foreign-device", subject: "device 2" }));
  for (const name of ["a", "c", "d"]) await mosaic.dropVolume(name);
  expect(readIds(bed)).toEqual([2]);
  dmsetup("message", poolOf(bed), "0", "delete 2");
}

function testSizes(bed: Bed): void {
  test("ext4 grows in use and out of use, becomes smaller, and keeps its files", async () => {
    await using mosaic = await openMosaic(bed.config);
    const use = await fillVolume(bed, mosaic, 16 * MIB);
    await mosaic.resizeVolume("web", 64 * MIB);
    const grown = use.readBlocks();
    expect(grown).toBeGreaterThan(use.blocks);
    await mosaic.unmountVolume("web", use.mountPoint);
    await mosaic.resizeVolume("web", 96 * MIB);
    await mosaic.mountVolume("web", use.mountPoint);
    expect(use.readBlocks()).toBeGreaterThan(grown);
    await mosaic.unmountVolume("web", use.mountPoint);
    await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", 32 * MIB));
    await mosaic.resizeVolume("web", 32 * MIB, { shrink: true });
    await mosaic.mountVolume("web", use.mountPoint);
    use.expectKept();
    expect(use.readBlocks()).toBeLessThan(grown);
    await mosaic.unmountVolume("web", use.mountPoint);
    expect((await mosaic.statVolume("web")).virtualBytes).toBe(32 * MIB);
    expect(expectPoolSame(bed)).toHaveLength(1);
  });

  test("xfs grows in use", async () => {
    await using mosaic = await openMosaic(bed.writeConfig("xfs", ["default_fs: xfs"]));
    const use = await fillVolume(bed, mosaic, 300 * MIB);
    await mosaic.resizeVolume("web", 364 * MIB);
    expect(use.readBlocks()).toBeGreaterThan(use.blocks);
    await mosaic.unmountVolume("web", use.mountPoint);
    await expectError("UNSUPPORTED", () => mosaic.resizeVolume("web", 300 * MIB, { shrink: true }));
  });

  test("btrfs becomes smaller", async () => {
    await using mosaic = await openMosaic(bed.writeConfig("btrfs", ["default_fs: btrfs"]));
    const use = await fillVolume(bed, mosaic, 256 * MIB);
    await mosaic.unmountVolume("web", use.mountPoint);
    await mosaic.resizeVolume("web", 192 * MIB, { shrink: true });
    await mosaic.mountVolume("web", use.mountPoint);
    use.expectKept();
    expect(use.readBlocks()).toBeLessThan(use.blocks);
    await mosaic.unmountVolume("web", use.mountPoint);
  });

  test("an attached disk grows under its users", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("vm", DISK);
    const device = await mosaic.attachVolume("vm");
    await mosaic.resizeVolume("vm", 32 * MIB);
    expect(run("blockdev", "--getsize64", device).trim()).toBe(String(32 * MIB));
    await expectError("UNSUPPORTED", () => mosaic.resizeVolume("vm", 8 * MIB, { shrink: true }));
    await mosaic.detachVolume("vm");
  });
}

/** Makes a volume "web", mounts it, and writes a file. */
async function fillVolume(bed: Bed, mosaic: Mosaic, sizeBytes: number) {
  const mountPoint = bed.makeMountPoint();
  const readBlocks = () => Number(run("stat", "-f", "-c", "%b", mountPoint));
  await mosaic.createVolume("web", { kind: "fs", sizeBytes });
  await mosaic.mountVolume("web", mountPoint);
  writeFileSync(join(mountPoint, "file"), "kept");
  const expectKept = () => expect(readFileSync(join(mountPoint, "file"), "utf8")).toBe("kept");
  return { mountPoint, readBlocks, expectKept, blocks: readBlocks() };
}

async function testDirtyLog(bed: Bed, inside: "ext4" | "xfs"): Promise<void> {
  await using mosaic = await openMosaic(bed.writeConfig(inside, [`default_fs: ${inside}`]));
  const use = await fillVolume(bed, mosaic, { ext4: 16, xfs: 300 }[inside] * MIB);
  shutDown(use.mountPoint);
  await mosaic.unmountVolume("web", use.mountPoint);
  await mosaic.cloneVolume("web", "copy");
  const other = bed.makeMountPoint();
  await mosaic.mountVolume("web", use.mountPoint);
  await mosaic.mountVolume("copy", other);
  use.expectKept();
  expect(readFileSync(join(other, "file"), "utf8")).toBe("kept");
  await mosaic.unmountVolume("copy", other);
  await mosaic.unmountVolume("web", use.mountPoint);
}

/** Ends a filesystem with its log written and nothing else: EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, with LOGFLUSH. */
function shutDown(mountPoint: string): void {
  const flags = Buffer.from([1, 0, 0, 0]);
  const fd = openDirectory(mountPoint);
  ioctl(fd, 0x8004587d, flags, mountPoint);
  closeFd(fd);
}

async function testZeroing(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("secret", DISK);
  const device = await mosaic.attachVolume("secret");
  run("sh", "-c", `yes secret | dd of=${device} bs=1M count=8 iflag=fullblock conv=fsync status=none`);
  await mosaic.detachVolume("secret");
  await mosaic.dropVolume("secret");
  await mosaic.createVolume("new", DISK);
  const other = await mosaic.attachVolume("new");
  // One byte in each block makes the pool map it; what else is in the block is then what it was given as.
  const fd = openSync(other, "r+");
  for (let at = 0; at < 8 * MIB; at += 64 * 1024) writeSync(fd, Buffer.alloc(1), 0, 1, at);
  fsyncSync(fd);
  closeFd(fd);
  expect((await mosaic.statVolume("new")).allocatedBytes).toBe(8 * MIB);
  expect(readFileSync(other).every((byte) => byte === 0)).toBe(true);
  await mosaic.detachVolume("new");
}
