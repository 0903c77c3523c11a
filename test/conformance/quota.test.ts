import { afterEach, expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { FaultySteps } from "../support/faults.ts";
import { clearBed } from "../support/foreign.ts";
import { askTool, limitByTool, QUOTA_ROWS, writeFile } from "../support/quota.ts";

// The sizes of directories and subvolumes, kept by quotas: what is written meets the limit, and resize moves it.

const MIB = 1024 ** 2;
const SIZE = 16 * MIB;
const WITHOUT_SIZE = { kind: "fs" } as const;
const FS = { kind: "fs", sizeBytes: SIZE } as const;
const MAX_STEPS = 50;
/** What a file cannot have of a size: directories, maps of blocks, room that btrfs keeps for what is being written. */
const OVERHEAD = MIB / 2;

for (const row of QUOTA_ROWS)
  describeOnBed(
    row,
    (bed) => {
      afterEach(() => clearBed(bed));
      test("a volume holds its size and no more", () => holdsItsSize(bed));
      test("a volume without a size has no limit, and gets one", () => hasNoLimit(bed));
      test("a full volume grows while it is mounted, and the same resize does nothing more", () =>
        grows(bed));
      test("a volume becomes smaller only when told so", () => shrinks(bed));
      test("a volume never becomes smaller than what it holds", () => staysLargeEnough(bed));
      test("a resize that fails at any step has changed nothing", () => failsAtEveryStep(bed, false));
      test("a plan changes no limit", () => plansOnly(bed));
      test("sizes that cannot be are refused", () => refusesSizes(bed));
      if (row.backend !== "btrfs") return;
      test("a resize of a read-only volume that fails at any step has changed nothing", () =>
        failsAtEveryStep(bed, true));
      test("a read-only volume is resized, stays so, and is dropped when full", () => resizesReadOnly(bed));
      test("a clone of a full volume has a limit of its own", () => clonesHaveTheirOwn(bed));
      test("a clone of a volume without a size has no limit", () => clonesWithoutSize(bed));
      test("a new volume has nothing of the limit of a dropped one", () => forgetsLimits(bed));
    },
    1024 * MIB,
  );

async function holdsItsSize(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const mountPoint = bed.makeMountPoint();
  await mosaic.createVolume("group/web", FS);
  await mosaic.createVolume("other", FS);
  expect(mosaic.info()).toMatchObject({
    features: expect.arrayContaining(["volsize"]),
    limits: { sizesAreKept: true },
  });
  expect(await mosaic.statVolume("group/web")).toMatchObject({ sizeBytes: SIZE, virtualBytes: SIZE });
  await mosaic.mountVolume("group/web", mountPoint);
  expectFull(bed, writeFile(join(mountPoint, "file"), 2 * SIZE), SIZE);
  expect(writeFile(join(mountPoint, "more"), MIB).words).toMatch(wordsOf(bed));
  expect(askTool(bed, "group/web")?.limitBytes).toBe(SIZE);
  expect(askTool(bed, "group/web")?.usedBytes).toBeWithin(SIZE - OVERHEAD, SIZE + 1);
  expect(writeFile(join(bed.location, "other/file"), MIB)).toEqual({ bytes: MIB, words: "" });
  rmSync(join(mountPoint, "file"));
  expect(writeFile(join(mountPoint, "file"), SIZE / 2)).toEqual({ bytes: SIZE / 2, words: "" });
  await mosaic.unmountVolume("group/web", mountPoint);
  for (const name of ["group/web", "other"]) await mosaic.dropVolume(name);
}

async function hasNoLimit(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", WITHOUT_SIZE);
  expect(await mosaic.statVolume("web")).toMatchObject({ sizeBytes: null, virtualBytes: null });
  expect(await mosaic.resizeVolume("web", SIZE)).toMatchObject({ sizeBytes: SIZE });
  expect(askTool(bed, "web")?.limitBytes).toBe(SIZE);
  expectFull(bed, writeFile(join(bed.location, "web/file"), 2 * SIZE), SIZE);
  await mosaic.createVolume("free", WITHOUT_SIZE);
  expect(writeFile(join(bed.location, "free/file"), 2 * SIZE)).toEqual({ bytes: 2 * SIZE, words: "" });
  expect((await mosaic.statVolume("free")).virtualBytes).toBeNull();
}

async function grows(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const mountPoint = bed.makeMountPoint();
  const made = await mosaic.createVolume("web", FS);
  await mosaic.mountVolume("web", mountPoint);
  writeFile(join(mountPoint, "file"), 2 * SIZE);
  for (const sizeBytes of [SIZE, 2 * SIZE, 2 * SIZE]) {
    expect(await mosaic.resizeVolume("web", sizeBytes)).toEqual({ ...made, sizeBytes });
    expect(await mosaic.getVolume("web")).toEqual({ ...made, sizeBytes });
    expect(askTool(bed, "web")?.limitBytes).toBe(sizeBytes);
  }
  expectFull(bed, writeFile(join(mountPoint, "more"), 4 * SIZE), SIZE);
  // Less than what the filesystem itself wants to have free.
  await mosaic.resizeVolume("web", 2 * SIZE + 4096);
  expect(await mosaic.statVolume("web")).toMatchObject({ virtualBytes: 2 * SIZE + 4096 });
  await mosaic.unmountVolume("web", mountPoint);
}

async function shrinks(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const mountPoint = bed.makeMountPoint();
  const before = await mosaic.createVolume("web", FS);
  await mosaic.mountVolume("web", mountPoint);
  const error = await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", SIZE / 2));
  expect(error.message).toContain("--shrink");
  expect(await mosaic.getVolume("web")).toEqual(before);
  expect(askTool(bed, "web")?.limitBytes).toBe(SIZE);
  await mosaic.resizeVolume("web", SIZE / 2, { shrink: true });
  expect(askTool(bed, "web")?.limitBytes).toBe(SIZE / 2);
  expect(await mosaic.getVolume("web")).toEqual({ ...before, sizeBytes: SIZE / 2 });
  expectFull(bed, writeFile(join(mountPoint, "file"), 2 * SIZE), SIZE / 2);
  await mosaic.unmountVolume("web", mountPoint);
}

async function staysLargeEnough(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const before = await mosaic.createVolume("web", FS);
  // It is not yet on the disk, and counts.
  expect(writeFile(join(bed.location, "web/file"), SIZE / 2).bytes).toBe(SIZE / 2);
  const tooSmall = () => mosaic.resizeVolume("web", SIZE / 4, { shrink: true });
  const { message, details } = await expectError("TOOL_FAILED", tooSmall);
  const smallestBytes = Number(details.smallestBytes);
  expect(smallestBytes).toBeWithin(SIZE / 2, SIZE / 2 + OVERHEAD);
  expect(message).toContain(String(smallestBytes));
  expect(await mosaic.getVolume("web")).toEqual(before);
  expect(askTool(bed, "web")?.limitBytes).toBe(SIZE);
  await mosaic.resizeVolume("web", smallestBytes, { shrink: true });
  expect(askTool(bed, "web")).toEqual({ limitBytes: smallestBytes, usedBytes: smallestBytes });
  expect(writeFile(join(bed.location, "web/more"), MIB)).toMatchObject({
    words: expect.stringMatching(wordsOf(bed)),
  });
  await mosaic.resizeVolume("web", SIZE);
  expect(writeFile(join(bed.location, "web/more"), MIB)).toEqual({ bytes: MIB, words: "" });
}

/** On a full volume, which has no room for the record itself. */
async function failsAtEveryStep(bed: Bed, isReadOnly: boolean): Promise<void> {
  await using calm = await openMosaic(bed.config);
  const before = await calm.createVolume("web", FS);
  writeFile(join(bed.location, "web/file"), 2 * SIZE);
  if (isReadOnly) makeReadOnly(bed, "web");
  for (let at = 1; at <= MAX_STEPS; at++) {
    const steps = new FaultySteps(at, "fail");
    await using mosaic = await openMosaic(bed.config, { steps });
    const thrown = await mosaic.resizeVolume("web", SIZE + MIB).catch((error) => error);
    if (!steps.fired) {
      expect(thrown).toEqual({ ...before, sizeBytes: SIZE + MIB });
      expect(at).toBeGreaterThan(3);
      return;
    }
    expect(String(thrown)).toContain("injected before");
    expect(await calm.getVolume("web")).toEqual(before);
    expect(askTool(bed, "web")?.limitBytes).toBe(SIZE);
    if (isReadOnly) expectReadOnly(bed, "web");
  }
  throw new Error(`resize took more than ${MAX_STEPS} steps`);
}

async function plansOnly(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const before = await mosaic.createVolume("web", FS);
  const lines: string[] = [];
  await using planning = await openMosaic(bed.config, { steps: plannedSteps((line) => lines.push(line)) });
  await planning.createVolume("new", FS);
  await planning.resizeVolume("web", 2 * SIZE);
  await planning.dropVolume("web");
  const [command, size] =
    bed.row.backend === "btrfs" ? ["btrfs qgroup limit", SIZE] : ["setquota -P", SIZE / 1024];
  const limits = lines.filter((line) => line.startsWith(command));
  for (const amount of [size, 2 * size]) expect(limits.join("\n")).toContain(` ${amount} `);
  expect(mosaic.listVolumes().map(({ name }) => String(name))).toEqual(["web"]);
  expect(await mosaic.getVolume("web")).toEqual(before);
  expect(askTool(bed, "web")?.limitBytes).toBe(SIZE);
}

async function refusesSizes(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", FS);
  const { sizeStepBytes, sizeMaxBytes } = mosaic.info().limits;
  expect(sizeStepBytes).toBe({ btrfs: 1, ext4: 1024, xfs: 4096, "thin-pool": 4096 }[bed.row.filesystem]);
  for (const sizeBytes of [0, -4096, 1.5, sizeMaxBytes + 4096, ...(sizeStepBytes > 1 ? [SIZE + 1] : [])]) {
    await expectError("INVALID_ARGUMENT", () => mosaic.createVolume("new", { kind: "fs", sizeBytes }));
    await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", sizeBytes, { shrink: true }));
  }
  await expectError("NOT_FOUND", () => mosaic.resizeVolume("missing", SIZE));
  for (const sizeBytes of [sizeMaxBytes, SIZE + sizeStepBytes, sizeMaxBytes]) {
    await mosaic.resizeVolume("web", sizeBytes, { shrink: true });
    expect(askTool(bed, "web")?.limitBytes).toBe(sizeBytes);
  }
  expect(mosaic.listVolumes()).toHaveLength(1);
}

async function resizesReadOnly(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", FS);
  writeFile(join(bed.location, "web/file"), 2 * SIZE);
  makeReadOnly(bed, "web");
  await mosaic.resizeVolume("web", 2 * SIZE);
  const { usedBytes = 0 } = askTool(bed, "web") ?? {};
  await mosaic.resizeVolume("web", usedBytes, { shrink: true });
  expect(askTool(bed, "web")).toEqual({ limitBytes: usedBytes, usedBytes });
  expect(await mosaic.getVolume("web")).toMatchObject({ sizeBytes: usedBytes });
  expectReadOnly(bed, "web");
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint, { readOnly: true });
  await expectError("BUSY", () => mosaic.dropVolume("web"));
  expectReadOnly(bed, "web");
  expect(askTool(bed, "web")?.limitBytes).toBe(usedBytes);
  await mosaic.unmountVolume("web", mountPoint);
  await mosaic.dropVolume("web");
  expect(mosaic.listVolumes()).toEqual([]);
}

async function clonesHaveTheirOwn(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const origin = await mosaic.createVolume("old", FS);
  const { bytes } = writeFile(join(bed.location, "old/file"), 2 * SIZE);
  const clone = await mosaic.cloneVolume("old", "new");
  expect(clone).toMatchObject({ sizeBytes: SIZE, parentId: origin.id });
  expect(await mosaic.statVolume("new")).toMatchObject({ virtualBytes: SIZE });
  expect(askTool(bed, "new")?.limitBytes).toBe(SIZE);
  const own = writeFile(join(bed.location, "new/own"), 2 * SIZE);
  expect(own.words).toMatch(wordsOf(bed));
  // Simple quotas charge what is shared to the origin alone.
  const freeBytes = bed.row.quota === "simple" ? SIZE : SIZE - bytes;
  expect(own.bytes).toBeWithin(Math.max(0, freeBytes - OVERHEAD), freeBytes + 1);
  await mosaic.resizeVolume("new", 2 * SIZE);
  expect([askTool(bed, "old"), askTool(bed, "new")]).toMatchObject([
    { limitBytes: SIZE },
    { limitBytes: 2 * SIZE },
  ]);
  expect(writeFile(join(bed.location, "old/more"), MIB).words).toMatch(wordsOf(bed));
  await mosaic.dropVolume("old");
  expect(askTool(bed, "new")?.limitBytes).toBe(2 * SIZE);
  expect(writeFile(join(bed.location, "new/after"), MIB)).toEqual({ bytes: MIB, words: "" });
}

async function clonesWithoutSize(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("old", WITHOUT_SIZE);
  // A snapshot takes over what limits its origin, also what mosaic did not set.
  run("btrfs", "qgroup", "limit", String(SIZE), join(bed.location, "old"));
  await mosaic.cloneVolume("old", "new");
  expect(askTool(bed, "new")?.limitBytes).toBeNull();
  expect(await mosaic.statVolume("new")).toMatchObject({ sizeBytes: null, virtualBytes: null });
}

/** Numbers of subvolumes are given again after a mount, and before Linux 6.10 the limits of the old ones are still there. */
async function forgetsLimits(bed: Bed): Promise<void> {
  const mosaic = await openMosaic(bed.config);
  for (const name of ["a", "b", "c"]) await mosaic.createVolume(name, FS);
  for (const name of ["a", "b", "c"]) await mosaic.dropVolume(name);
  await mosaic[Symbol.asyncDispose]();
  remount(bed);
  await using again = await openMosaic(bed.config);
  for (const name of ["a", "b", "c"]) {
    await again.createVolume(name, WITHOUT_SIZE);
    expect(askTool(bed, name)?.limitBytes).toBeNull();
  }
  expect((await again.check()).findings).toEqual([]);
  mkdirSync(join(bed.location, "a/directory"));
  expect(writeFile(join(bed.location, "a/file"), 2 * SIZE).words).toBe("");
}

/** A full subvolume has no room to become read-only. */
function makeReadOnly(bed: Bed, name: string): void {
  const limitBytes = askTool(bed, name)?.limitBytes ?? null;
  limitByTool(bed, name, null);
  run("btrfs", "property", "set", "-t", "subvol", join(bed.location, name), "ro", "true");
  limitByTool(bed, name, limitBytes);
}

function expectReadOnly(bed: Bed, name: string): void {
  const path = join(bed.location, name);
  expect(run("btrfs", "property", "get", "-t", "subvol", path, "ro")).toBe("ro=true\n");
}

/** Lets btrfs finish its removals, and mounts it anew. */
function remount(bed: Bed): void {
  run("btrfs", "filesystem", "sync", bed.location);
  run("btrfs", "subvolume", "sync", bed.location);
  run("umount", bed.location);
  run("mount", "-o", "loop", bed.image, bed.location);
}

function expectFull(bed: Bed, { bytes, words }: { bytes: number; words: string }, sizeBytes: number): void {
  expect(words).toMatch(wordsOf(bed));
  expect(bytes).toBeWithin(sizeBytes - OVERHEAD, sizeBytes + 1);
}

/** XFS says of a full project what it says of a full disk. */
function wordsOf({ row }: Bed): RegExp {
  return row.filesystem === "xfs" ? /No space left on device/ : /Disk quota exceeded/;
}
