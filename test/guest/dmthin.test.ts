import { afterEach, describe, expect, test } from "bun:test";
import { fsyncSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, MosaicError, openMosaic } from "../../src/index.ts";
import { closeFd, openDirectory } from "../../src/system/files.ts";
import { ioctl } from "../../src/system/libc.ts";
import { directSteps, type Steps } from "../../src/system/steps.ts";
import { BEDS, type Bed, describeOnBed, dmsetup, run } from "../support/beds.ts";
import { listBedDevices } from "../support/devices.ts";
import { expectError, until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { killAtStep } from "../support/killing.ts";
import { expectPoolSame, listIds, listProblems, poolOf, readIds, trySend } from "../support/pools.ts";

// Volumes of a thin pool: what kills leave, ids, sizes, and what was in a block before.

const MIB = 1024 ** 2;
const DISK = { kind: "disk", sizeBytes: 8 * MIB } as const;

describeOnBed(BEDS.dmthin[0], (bed) => {
  afterEach(() => clearBed(bed));
  // The other kills are in the suite for every backend: conformance/faults.test.ts.
  test("what a killed drop left is not deleted for somebody who has its id", () => testKilledDrop(bed));
  test("a killed attach leaves no device behind the next command", () => testLeftDevice(bed));
  test("a delete that comes before its device has gone is tried again", () => testEarlyDelete(bed));
  test("the lowest free id is used, and devices of others are respected", () => testIds(bed));
  describe("sizes", () => testSizes(bed));
  test("what a dropped volume held is never shown in a new one", () => testZeroing(bed));
});

async function testKilledDrop(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", DISK);
  expect(killAtStep(bed.config, "kill-after", /0 'delete/, "drop", { volume: "web" })).toBe(true);
  await until("the end of what the killed run had sent", () => trySend(poolOf(bed), "create_thin 1"));
  await mosaic.createVolume("other", DISK);
  expect(listIds(bed)).toEqual([2]);
  expect(readIds(bed)).toEqual([1, 2]);
  expect(await listProblems(mosaic)).toEqual([]);
  dmsetup("message", poolOf(bed), "0", "delete 1");
}

/** The kernel calls the device busy for a moment, as it does also when nobody knows who has it. */
async function testEarlyDelete(bed: Bed): Promise<void> {
  let refusals = 0;
  const steps: Steps = {
    planning: false,
    async take(step, action, planned) {
      if (!/0 'delete/.test(step.text) || refusals === 3) return directSteps.take(step, action, planned);
      refusals++;
      throw new MosaicError("BUSY", "injected", { errno: "EBUSY" });
    },
  };
  await using mosaic = await openMosaic(bed.config, { steps });
  await mosaic.createVolume("web", DISK);
  await mosaic.dropVolume("web");
  expect(refusals).toBe(3);
  expect(expectPoolSame(bed)).toEqual([]);
}

/** Neither a device nor, where no udev runs, a node. */
async function testLeftDevice(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", DISK);
  expect(killAtStep(bed.config, "kill-after", /dmsetup load/, "attach", { volume: "web" })).toBe(true);
  expect(await listProblems(mosaic)).toEqual(["leftover-device"]);
  await mosaic.createVolume("other", DISK);
  expect(listBedDevices(bed)).toEqual([]);
  await mosaic.attachVolume("web");
  await mosaic.detachVolume("web");
  expect(readdirSync("/dev/mapper").sort()).toEqual(["control", poolOf(bed)]);
}

async function testIds(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  for (const name of ["a", "b"]) await mosaic.createVolume(name, DISK);
  await mosaic.dropVolume("a");
  dmsetup("message", poolOf(bed), "0", "create_thin 1");
  await mosaic.createVolume("c", DISK);
  expect(listIds(bed)).toEqual([2, 3]);
  expect(readIds(bed)).toEqual([1, 2, 3]);
  const { problems, findings } = await mosaic.check();
  expect(problems).toBe(0);
  expect(findings).toContainEqual(expect.objectContaining({ code: "foreign-device", subject: "device 1" }));
  dmsetup("message", poolOf(bed), "0", "delete 1");
  await mosaic.createVolume("d", DISK);
  expect(expectPoolSame(bed)).toEqual([1, 2, 3]);
}

function testSizes(bed: Bed): void {
  test.each(["ext4", "xfs"] as const)(
    "%s grows in use, and its clone is whole where it was not unmounted",
    (inside) => testGrowth(bed, inside),
  );

  test("btrfs grows out of use, and becomes smaller as a snapshot that takes its place", async () => {
    await using mosaic = await openMosaic(bed.writeConfig("btrfs", ["default_fs: btrfs"]));
    const use = await fillVolume(bed, mosaic, 256 * MIB);
    await mosaic.unmountVolume("web", use.mountPoint);
    await mosaic.resizeVolume("web", 320 * MIB);
    await mosaic.mountVolume("web", use.mountPoint);
    expect(use.readBlocks()).toBeGreaterThan(use.blocks);
    await mosaic.unmountVolume("web", use.mountPoint);
    await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", 256 * MIB));
    await mosaic.resizeVolume("web", 256 * MIB, { shrink: true });
    await mosaic.mountVolume("web", use.mountPoint);
    use.expectKept();
    expect(use.readBlocks()).toBe(use.blocks);
    await mosaic.unmountVolume("web", use.mountPoint);
    expect((await mosaic.statVolume("web")).virtualBytes).toBe(256 * MIB);
    expect(expectPoolSame(bed)).toHaveLength(1);
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

async function testGrowth(bed: Bed, inside: "ext4" | "xfs"): Promise<void> {
  await using mosaic = await openMosaic(bed.writeConfig(inside, [`default_fs: ${inside}`]));
  const sizeBytes = { ext4: 16, xfs: 300 }[inside] * MIB;
  const use = await fillVolume(bed, mosaic, sizeBytes);
  await mosaic.resizeVolume("web", sizeBytes + 64 * MIB);
  expect(use.readBlocks()).toBeGreaterThan(use.blocks);
  run("sync", join(use.mountPoint, "file"));
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
  const shrink = () => mosaic.resizeVolume("web", sizeBytes, { shrink: true });
  if (inside === "xfs") await expectError("UNSUPPORTED", shrink);
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
