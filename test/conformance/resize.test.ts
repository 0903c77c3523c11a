import { afterEach, expect, test } from "bun:test";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, openMosaic, plannedSteps } from "../../src/index.ts";
import { Holders } from "../e2e/holders.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkOnly, expectRepair, takeState } from "../support/checking.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { freeze, thawAll, thawLater } from "../support/freezing.ts";
import {
  canGrowMountedExt4,
  checksum,
  expectFilled,
  expectSize,
  growImageOnly,
  type Inside,
  MIB,
  makeVolume,
  openWith,
  readInsideBytes,
  START,
  takeWhole,
  unmount,
  waitForDevices,
} from "../support/resizing.ts";

// Volumes grow wherever they are in use, and a growth that was cut off is completed.

/** The filesystems inside on each location: all of them where they cost least. */
const INSIDE: Record<Inside, readonly Inside[]> = {
  ext4: ["ext4"],
  xfs: ["ext4", "xfs", "btrfs"],
  btrfs: ["xfs", "btrfs"],
};

for (const row of BEDS.loop) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      thawAll();
      await holders.release();
      clearBed(bed);
    });
    for (const inside of INSIDE[row.filesystem]) {
      test(`${inside} grows while nobody uses it, and again is no change`, () => growIdle(bed, inside));
      test(`${inside} grows while it is mounted`, () => growMounted(bed, inside));
      test(`${inside} grows while it is mounted in another mount namespace only`, () =>
        growElsewhere(bed, inside, holders));
      test(`${inside} grows while it is attached`, () => growAttached(bed, inside));
      test(`${inside} that was cut off in its growth is found by check and mended`, () =>
        mendCutOff(bed, inside));
    }
    test("a disk grows while a process has its device open", () => growDisk(bed, holders));
    test("the largest size is what a file can have, and one step more is refused", () => growMost(bed));
    if (row !== BEDS.loop[1]) return;
    for (const inside of INSIDE.xfs) {
      test(`${inside} in use read-only or frozen is BUSY`, () => refuseUse(bed, inside, holders));
      test(`${inside} that a process has for itself is BUSY`, () => refuseHeld(bed, inside, holders));
      test(`${inside}: a plan changes nothing`, () => planGrowth(bed, inside));
    }
    test("btrfs below what the kernel can resize it to is refused", () => refuseSmallBtrfs(bed));
    test("sizes that are none, and volumes that are none, are refused", () => refuseSizes(bed));
  });
}

// What is shown by a daemon grows through it.
for (const row of [BEDS.qcow2[0], BEDS.ploop[0]]) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearBed(bed);
    });
    test("xfs grows while it is mounted", () => growMounted(bed, "xfs"));
    test("xfs grows while it is mounted in another mount namespace only", () =>
      growElsewhere(bed, "xfs", holders));
    // Of ploop it is in test/images/ploop.test.ts: the size of its image is in several places, and in whole blocks.
    if (row.backend === "ploop") return;
    test("xfs that was cut off in its growth is found by check and mended", () => mendCutOff(bed, "xfs"));
    test("a disk grows while a process has its device open", () => growDisk(bed, holders));
  });
}

async function growIdle(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const { id } = await mosaic.getVolume("web");
  // By much, by one step, and by a part of a group of blocks.
  for (const sizeBytes of [2 * start, 2 * start + 4096, 2 * start + 4096 + 5 * MIB]) {
    await mosaic.resizeVolume("web", sizeBytes);
    const record = await expectSize(bed, mosaic, inside, sizeBytes, sum);
    expect(record.id).toBe(id);
    const before = takeState(bed);
    expect(await mosaic.resizeVolume("web", sizeBytes)).toEqual(record);
    await waitForDevices(bed);
    if (inside !== "ext4" || canGrowMountedExt4()) expect(takeState(bed)).toEqual(before);
    await expectSize(bed, mosaic, inside, sizeBytes, sum);
  }
}

/** Grows a volume that is in use, or is refused for want of a capability, and then has not changed. */
async function growInUse(bed: Bed, mosaic: Mosaic, inside: Inside, sizeBytes: number): Promise<boolean> {
  // What it has already is no change, and needs no capability.
  const { sizeBytes: current } = await mosaic.getVolume("web");
  await mosaic.resizeVolume("web", Number(current));
  if (inside === "ext4" && !canGrowMountedExt4()) {
    const before = takeState(bed);
    const { message } = await expectError("PERMISSION_DENIED", () => mosaic.resizeVolume("web", sizeBytes));
    expect(message).toContain("needs CAP_SYS_RESOURCE: unmount and detach it first");
    expect(takeState(bed)).toEqual(before);
    return false;
  }
  expect((await mosaic.resizeVolume("web", sizeBytes)).sizeBytes).toBe(sizeBytes);
  await mosaic.resizeVolume("web", sizeBytes);
  return true;
}

async function growMounted(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  const before = measure(mountPoint);
  const hasGrown = await growInUse(bed, mosaic, inside, 2 * start);
  if (hasGrown) {
    expect(measure(mountPoint) - before).toBeGreaterThan(0.8 * start);
    // More than there was room for.
    run("fallocate", "-l", String(start), join(mountPoint, "more"));
  }
  writeFileSync(join(mountPoint, "file"), "written after", { flush: true });
  expect(checksum(join(mountPoint, "data"))).toBe(sum);
  await unmount(bed, mosaic, mountPoint);
  await expectSize(bed, mosaic, inside, hasGrown ? 2 * start : start, sum);
}

/** The bytes of a mounted filesystem, by stat(1). */
function measure(path: string, ...prefix: readonly string[]): number {
  const [unit = 0, blocks = 0] = run(...prefix, "stat", "-f", "-c", "%S %b", path)
    .split(" ")
    .map(Number);
  return unit * blocks;
}

async function growElsewhere(bed: Bed, inside: Inside, holders: Holders): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  const pid = await holders.holdInNamespace(":");
  run("umount", mountPoint);
  const enter = ["nsenter", "-m", "-t", String(pid)];
  const before = measure(mountPoint, ...enter);
  const hasGrown = await growInUse(bed, mosaic, inside, 2 * start);
  if (hasGrown) expect(measure(mountPoint, ...enter) - before).toBeGreaterThan(0.8 * start);
  expect((await mosaic.statVolume("web")).inside?.sizeBytes).toBe(measure(mountPoint, ...enter));
  run(...enter, "touch", join(mountPoint, "still-writable"));
  await holders.release();
  await expectSize(bed, mosaic, inside, hasGrown ? 2 * start : start, sum);
}

async function growAttached(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const device = await mosaic.attachVolume("web");
  const hasGrown = await growInUse(bed, mosaic, inside, 2 * start);
  const sizeBytes = hasGrown ? 2 * start : start;
  expect(Number(run("blockdev", "--getsize64", device))).toBe(sizeBytes);
  expectFilled(inside, readInsideBytes(inside, device), sizeBytes);
  expect(mosaic.listVolumes()).toMatchObject([{ attachedAs: device, mountedAt: [] }]);
  await mosaic.detachVolume("web");
  await expectSize(bed, mosaic, inside, sizeBytes, sum);
}

/** What a growth leaves that was killed after its first step: a larger file, and nothing else. */
async function mendCutOff(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const finding = (from: number, to: number) => ({
    code: "size-differs",
    severity: "problem" as const,
    subject: "web",
    message: `its record says ${from} bytes, its image has ${to}: a resize was cut off`,
  });
  growImageOnly(bed, 2 * start);
  await expectRepair(bed, finding(start, 2 * start));
  await expectSize(bed, mosaic, inside, 2 * start, sum);
  if (inside === "ext4" && !canGrowMountedExt4()) return;
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  growImageOnly(bed, 3 * start);
  await expectRepair(bed, finding(2 * start, 3 * start));
  expect(measure(mountPoint)).toBeGreaterThan(2 * start);
  await unmount(bed, mosaic, mountPoint);
  await expectSize(bed, mosaic, inside, 3 * start, sum);
}

async function growDisk(bed: Bed, holders: Holders): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", { kind: "disk", sizeBytes: 4096 });
  const device = await mosaic.attachVolume("web");
  await holders.hold('exec 7<>"$1"', device);
  for (const sizeBytes of [MIB, 3 * MIB, 3 * MIB]) {
    expect((await mosaic.resizeVolume("web", sizeBytes)).sizeBytes).toBe(sizeBytes);
    expect(Number(run("blockdev", "--getsize64", device))).toBe(sizeBytes);
    expect((await mosaic.statVolume("web")).virtualBytes).toBe(sizeBytes);
  }
  await holders.release();
  await mosaic.detachVolume("web");
  await mosaic.resizeVolume("web", 4 * MIB);
  expect(await checkOnly(bed)).toEqual([]);
  expect((await mosaic.statVolume("web")).virtualBytes).toBe(4 * MIB);
}

async function growMost(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { sizeMaxBytes, sizeStepBytes } = mosaic.info().limits;
  await mosaic.createVolume("web", { kind: "disk", sizeBytes: MIB });
  const refusal = () => mosaic.resizeVolume("web", sizeMaxBytes + sizeStepBytes);
  const error = await expectError("INVALID_ARGUMENT", refusal);
  expect(error.message).toContain(`the largest here is ${sizeMaxBytes} bytes`);
  await mosaic.resizeVolume("web", sizeMaxBytes);
  const image = join(bed.location, "web");
  expect(statSync(image).size).toBe(sizeMaxBytes);
  await expectError("INVALID_ARGUMENT", refusal);
  if (bed.row.filesystem !== "ext4") return;
  const more = Bun.spawnSync(["truncate", "-s", String(sizeMaxBytes + sizeStepBytes), image]);
  expect(more.stderr.toString()).toContain("File too large");
}

async function refuse(bed: Bed, mosaic: Mosaic, sizeBytes: number, says: string): Promise<void> {
  const before = takeState(bed);
  const { message } = await expectError("BUSY", () => mosaic.resizeVolume("web", sizeBytes));
  expect(message).toContain(says);
  expect(takeState(bed)).toEqual(before);
}

async function refuseUse(bed: Bed, inside: Inside, holders: Holders): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint, { readOnly: true });
  await refuse(bed, mosaic, 2 * start, "in use read-only: unmount it first");
  await unmount(bed, mosaic, mountPoint);
  await mosaic.mountVolume("web", mountPoint);
  run("mount", "-o", "remount,ro", mountPoint);
  await refuse(bed, mosaic, 2 * start, "in use read-only: unmount it first");
  run("mount", "-o", "remount,rw", mountPoint);
  freeze(mountPoint);
  await refuse(bed, mosaic, 2 * start, "its filesystem is frozen");
  const pid = await holders.holdInNamespace(":");
  run("umount", mountPoint);
  thawLater(`/proc/${pid}/root${mountPoint}`);
  await refuse(bed, mosaic, 2 * start, "its filesystem is frozen");
  run("fsfreeze", "--unfreeze", `/proc/${pid}/root${mountPoint}`);
  await holders.release();
  await expectSize(bed, mosaic, inside, start, sum);
}

/** A program that has the device or the image open may be a virtual machine, beside which nobody may mount it. */
async function refuseHeld(bed: Bed, inside: Inside, holders: Holders): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const ofImage = await holders.hold('exec 7<>"$1"', join(bed.location, "web"));
  await refuse(bed, mosaic, 2 * start, `it is open in process ${ofImage} `);
  const whileOpen = await mosaic.attachVolume("web");
  await refuse(bed, mosaic, 2 * start, `it is open in process ${ofImage} `);
  await holders.release();
  const ofDevice = await holders.hold('exec 7<>"$1"', whileOpen);
  await refuse(bed, mosaic, 2 * start, `it is open in process ${ofDevice} `);
  await holders.release();
  await mosaic.detachVolume("web");
  await expectSize(bed, mosaic, inside, start, sum);
}

async function planGrowth(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, start);
  const before = takeWhole(bed);
  const idle = await plan(bed, 2 * start);
  expect(takeWhole(bed)).toEqual(before);
  expect(idle.find((text) => text.startsWith("truncate "))).toContain(String(2 * start));
  expect(idle.filter((text) => /^(losetup|mount|setfattr) /.test(text))).toHaveLength(3);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  const mounted = takeState(bed);
  const capacity = measure(mountPoint);
  expect((await plan(bed, 2 * start)).join("\n")).toContain("losetup --set-capacity");
  expect([takeState(bed), measure(mountPoint)]).toEqual([mounted, capacity]);
  await unmount(bed, mosaic, mountPoint);
  await expectSize(bed, mosaic, inside, start, sum);
}

async function plan(bed: Bed, sizeBytes: number): Promise<string[]> {
  const log: string[] = [];
  await using mosaic = await openMosaic(bed.config, { steps: plannedSteps((text) => log.push(text)) });
  await mosaic.resizeVolume("web", sizeBytes);
  return log;
}

async function refuseSmallBtrfs(bed: Bed): Promise<void> {
  await using mosaic = await openWith(bed, "btrfs");
  const start = 128 * MIB;
  const sum = await makeVolume(bed, mosaic, start);
  const before = takeWhole(bed);
  const { message, details } = await expectError("INVALID_ARGUMENT", () =>
    mosaic.resizeVolume("web", 200 * MIB),
  );
  expect(message).toContain("invalid size 200M: btrfs can be resized to 256M or more");
  expect(details.minimumBytes).toBe(256 * MIB);
  expect(takeWhole(bed)).toEqual(before);
  expect((await mosaic.resizeVolume("web", start)).sizeBytes).toBe(start);
  await mosaic.resizeVolume("web", 256 * MIB);
  await expectSize(bed, mosaic, "btrfs", 256 * MIB, sum);
}

async function refuseSizes(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  for (const kind of ["disk", "fs"] as const) {
    await mosaic.createVolume("web", { kind, sizeBytes: 32 * MIB });
    const before = takeWhole(bed);
    for (const sizeBytes of [
      0,
      -4096,
      1,
      4095,
      4097,
      32 * MIB + 1,
      0.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
    ])
      await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", sizeBytes, { shrink: true }));
    expect(takeWhole(bed)).toEqual(before);
    await mosaic.dropVolume("web");
  }
  const { message } = await expectError("NOT_FOUND", () => mosaic.resizeVolume("web", 64 * MIB));
  expect(message).toContain('Cannot resize "web": there is no volume');
}
