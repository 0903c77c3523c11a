import { afterEach, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";

// The limits that info shows: what is within can be made for real, and the next step beyond is refused.

const SIZE = 16 * 1024 ** 2;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("the longest name, group and way are volumes, and one more is none", () => tryNames(bed));
    test("each character of a name is what the pattern says", () => tryCharacters(bed));
    test("the kinds are those that can be made", () => tryKinds(bed));
  });
}

for (const row of ALL_BEDS.filter(({ backend }) => backend === "loop")) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("the smallest disk is one step", () => trySmallestDisk(bed));
    for (const filesystem of ["ext4", "xfs", "btrfs"])
      test(`the smallest volume with ${filesystem} can be mounted and written`, () =>
        trySmallest(bed, filesystem));
    // The largest file of ext4 is smaller than what a number holds.
    if (row.filesystem !== "ext4") test("the largest disk is a sparse file", () => tryLargest(bed));
    if (row.features.includes("volsize"))
      test("sizes beyond the limits are refused", () => refuseBeyond(bed));
  });
}

async function makeAndDrop(mosaic: Mosaic, name: string): Promise<void> {
  await mosaic.createVolume(name, { kind: "fs", sizeBytes: SIZE });
  expect(mosaic.listVolumes().map((volume) => String(volume.name))).toEqual([name]);
  await mosaic.dropVolume(name);
}

async function tryNames(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { maxBytes, groupMaxBytes, maxGroups } = mosaic.info().limits.names;
  const repeat = (count: number) => "x".repeat(count);
  const half = repeat(groupMaxBytes);
  const longest = `${half}/${repeat(maxBytes - half.length - 1)}`;
  const deepest = Array.from({ length: maxGroups }, () => "x").join("/");
  expect([longest.length, deepest.split("/").length]).toEqual([maxBytes, maxGroups]);
  for (const name of [longest, half, deepest]) {
    await makeAndDrop(mosaic, name);
    const over = name === deepest ? `${name}/x` : `${name}x`;
    await expectError("INVALID_ARGUMENT", () => mosaic.createVolume(over, { kind: "fs", sizeBytes: SIZE }));
  }
  expect(run("ls", "-A", bed.location)).toBe("");
}

async function tryCharacters(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const pattern = new RegExp(mosaic.info().limits.names.groupPattern);
  const texts = Array.from({ length: 127 }, (_, index) => String.fromCharCode(index + 1));
  for (const text of [...texts, "é"]) {
    // A slash is between groups, and no part of one.
    if (text === "/") continue;
    for (const name of [text, `a${text}`]) {
      const isRefused = await Promise.try(() => mosaic.haveVolume(name)).then(
        () => false,
        ({ code }) => code === "INVALID_ARGUMENT",
      );
      expect({ name, isRefused }).toEqual({ name, isRefused: !pattern.test(name) });
    }
  }
}

async function tryKinds(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { kinds, sizeIsRequired, sizesAreKept } = mosaic.info().limits;
  for (const kind of ["fs", "disk"] as const) {
    const create = () => mosaic.createVolume(kind, { kind, sizeBytes: SIZE });
    if (kinds.includes(kind)) expect((await create()).kind).toBe(kind);
    else await expectError("UNSUPPORTED", create);
  }
  const createWithout = () => mosaic.createVolume("free", { kind: "fs" });
  if (sizeIsRequired) await expectError("INVALID_ARGUMENT", createWithout);
  else expect((await createWithout()).sizeBytes).toBeNull();
  expect(sizesAreKept).toBe(mosaic.info().features.includes("volsize"));
}

async function trySmallestDisk(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { sizeMinBytes, sizeStepBytes } = mosaic.info().limits;
  expect(sizeMinBytes).toBe(sizeStepBytes);
  await mosaic.createVolume("disk", { kind: "disk", sizeBytes: sizeMinBytes });
  expect(statSync(join(bed.location, "disk")).size).toBe(sizeMinBytes);
  const device = await mosaic.attachVolume("disk");
  expect(Number(run("blockdev", "--getsize64", device))).toBe(sizeMinBytes);
  await mosaic.detachVolume("disk");
}

async function trySmallest(bed: Bed, filesystem: string): Promise<void> {
  const config = bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]);
  await using mosaic = await openMosaic(config);
  const sizeBytes = mosaic.info().limits.filesystems[filesystem] ?? 0;
  await mosaic.createVolume("web", { kind: "fs", sizeBytes });
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  run("dd", "if=/dev/zero", `of=${mountPoint}/file`, "bs=1M", "count=1", "conv=fsync", "status=none");
  expect(run("findmnt", "-n", "-o", "FSTYPE", mountPoint).trim()).toBe(filesystem);
  await mosaic.unmountVolume("web", mountPoint);
}

async function tryLargest(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { sizeMaxBytes } = mosaic.info().limits;
  await mosaic.createVolume("disk", { kind: "disk", sizeBytes: sizeMaxBytes });
  expect(statSync(join(bed.location, "disk")).size).toBe(sizeMaxBytes);
  await mosaic.dropVolume("disk");
}

async function refuseBeyond(bed: Bed): Promise<void> {
  for (const filesystem of ["ext4", "xfs", "btrfs"]) {
    const config = bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]);
    await using mosaic = await openMosaic(config);
    const { filesystems, sizeMinBytes, sizeStepBytes, sizeMaxBytes } = mosaic.info().limits;
    const refuse = (kind: "fs" | "disk", sizeBytes: number) =>
      expectError("INVALID_ARGUMENT", () => mosaic.createVolume("web", { kind, sizeBytes }));
    await refuse("fs", (filesystems[filesystem] ?? 0) - sizeStepBytes);
    for (const sizeBytes of [0, -sizeMinBytes, sizeMinBytes - 1, sizeMinBytes + 1, sizeMinBytes / 2])
      await refuse("disk", sizeBytes);
    await refuse("disk", sizeMaxBytes + sizeStepBytes);
  }
  expect(run("ls", "-A", bed.location)).toBe("");
}
