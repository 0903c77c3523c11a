import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { type Mosaic, openMosaic, type VolumeDetails } from "../../src/index.ts";
import { ALL_BEDS, type Bed, type BedRow, describeOnBed, dmsetup, hasImages, run } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { makeFilled, writeInto } from "../support/filled.ts";
import { clearBed } from "../support/foreign.ts";
import { poolOf, readStatus } from "../support/pools.ts";

// Every number of info and list, compared with what other programs and the kernel's files say.

const MIB = 1024 ** 2;
const SIZE = 64 * MIB;
/** Beds whose numbers are measured in another way than those of the backend's own beds. */
const MORE_BEDS: readonly BedRow[] = [
  { name: "plain on xfs", backend: "plain", filesystem: "xfs" },
  { name: "plain on btrfs", backend: "plain", filesystem: "btrfs" },
];

for (const row of [...ALL_BEDS, ...MORE_BEDS]) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("the space of the location is that of stat -f and findmnt, or of the pool", () => compareSpace(bed));
    test("what a volume takes is what stat, du, filefrag and btrfs say", () => compareVolume(bed));
    test("a clone and its parent are what their records say, and a drop frees what info says", () =>
      compareClone(bed));
  });
}

function readNumbers(...argv: readonly string[]): number[] {
  return run(...argv)
    .trim()
    .split(/\s+/)
    .map(Number);
}

/** The space of a location by the kernel: of its filesystem, or of its pool. */
function readSpace(bed: Bed): { sizeBytes: number; usedBytes: number; availableBytes: number } {
  if (bed.isPool) {
    const unit = Number(dmsetup("table", poolOf(bed)).split(" ")[5]) * 512;
    const [used = 0, total = 0] = readStatus(bed)[2]?.split("/").map(Number) ?? [];
    return { sizeBytes: total * unit, usedBytes: used * unit, availableBytes: (total - used) * unit };
  }
  const [unit = 0, blocks = 0, free = 0, available = 0] = readNumbers(
    ...["stat", "-f", "-c", "%S %b %f %a", bed.location],
  );
  return { sizeBytes: blocks * unit, usedBytes: (blocks - free) * unit, availableBytes: available * unit };
}

/** The bytes of an image in extents that are shared, as filefrag shows them in blocks. */
function sumShared(image: string): number {
  const blockBytes = Number(/ blocks? of (\d+) bytes/.exec(run("filefrag", "-v", image))?.[1]);
  const rows = run("filefrag", "-v", image)
    .split("\n")
    .filter((line) => /^\s*\d+:/.test(line));
  expect(rows.length).toBeGreaterThan(0);
  return rows
    .filter((line) => /\bshared\b/.test(line))
    .reduce((sum, line) => sum + Number(line.split(":")[3]) * blockBytes, 0);
}

/** What btrfs says of a file or subvolume: all bytes, and those that nothing else shares. */
function readBtrfsUse(path: string): { total: number; exclusive: number } {
  const line = run("btrfs", "filesystem", "du", "--summarize", "--raw", path).trim().split("\n").at(-1) ?? "";
  const [total = Number.NaN, exclusive = Number.NaN] = line.trim().split(/\s+/).map(Number);
  return { total, exclusive };
}

async function compareSpace(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await makeFilled(bed, mosaic, "web", 3);
  await until("a location at rest", () => {
    const { sizeBytes, usedBytes, availableBytes } = mosaic.info().space;
    return Bun.deepEquals({ sizeBytes, usedBytes, availableBytes }, readSpace(bed));
  });
  expect(mosaic.info().space.filesystem).toBe(
    bed.isPool ? "thin-pool" : run("findmnt", "-n", "-o", "FSTYPE", "-T", bed.location).trim(),
  );
  expect(mosaic.info().space.sizeBytes).toBeGreaterThan(2 * 1024 * MIB);
}

async function compareVolume(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const path = await makeFilled(bed, mosaic, "web", 5);
  const details = await mosaic.statVolume("web");
  expect(details.allocatedBytes).toBeGreaterThanOrEqual(5 * MIB);
  expect(details.holders).toEqual([]);
  if (bed.isPool) {
    const mapped = details.allocatedBytes;
    expect(details).toMatchObject({ virtualBytes: SIZE, exclusiveBytes: mapped, inside: null });
    expect(mosaic.info().space.usedBytes).toBe(mapped);
    return;
  }
  if (bed.row.backend === "loop") await compareInside(bed, mosaic, details.inside);
  else expect(details.inside).toBeNull();
  if (bed.row.backend === "loop") {
    const [size = 0, blocks = 0, unit = 0] = readNumbers("stat", "-c", "%s %b %B", path);
    expect(details).toMatchObject({ virtualBytes: size, allocatedBytes: blocks * unit });
    expect(size).toBe(SIZE);
    expect(details.exclusiveBytes).toBe(details.allocatedBytes);
    expect(sumShared(path)).toBe(0);
    return;
  }
  expect(details.virtualBytes).toBe(mosaic.info().limits.sizesAreKept ? SIZE : null);
  const [allocated = 0] = readNumbers("du", "-s", "-x", "--block-size=1", "--", path);
  expect(details.allocatedBytes).toBe(allocated);
  const exclusive = { ext4: allocated, xfs: null, btrfs: allocated, "thin-pool": null };
  expect(details.exclusiveBytes).toBe(hasImages(bed.row) ? allocated : exclusive[bed.row.filesystem]);
}

/** What is used inside is the same for the tools that read the image, and for the kernel that has it mounted. */
async function compareInside(bed: Bed, mosaic: Mosaic, unmounted: VolumeDetails["inside"]): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint, { readOnly: true });
  const [unit = 0, blocks = 0, free = 0] = readNumbers("stat", "-f", "-c", "%S %b %f", mountPoint);
  expect(unmounted).toEqual({ sizeBytes: unit * blocks, usedBytes: unit * (blocks - free) });
  expect((await mosaic.statVolume("web")).inside).toEqual(unmounted);
  await mosaic.unmountVolume("web", mountPoint);
  await mosaic.attachVolume("web");
  expect((await mosaic.statVolume("web")).inside).toBeNull();
  await mosaic.detachVolume("web");
}

async function compareClone(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  if (!mosaic.info().features.includes("clone")) {
    await makeFilled(bed, mosaic, "web", 4);
    await expectFreed(bed, mosaic, "web");
    return;
  }
  const origin = await makeFilled(bed, mosaic, "web", 4);
  await mosaic.cloneVolume("web", "copy");
  await mosaic.cloneVolume("web", "other");
  await writeInto(bed, mosaic, "copy", 3);
  await compareRecords(bed, mosaic);
  const clone = join(bed.location, "copy");
  for (const [name, path] of [
    ["web", origin],
    ["copy", clone],
  ] as const) {
    const details = await mosaic.statVolume(name);
    if (bed.row.backend === "loop")
      expect(details.exclusiveBytes).toBe(details.allocatedBytes - sumShared(path));
    if (bed.row.filesystem === "btrfs") {
      const { total, exclusive } = readBtrfsUse(path);
      expect(details).toMatchObject({ allocatedBytes: total, exclusiveBytes: exclusive });
    }
  }
  const copy = await mosaic.statVolume("copy");
  expect(copy.exclusiveBytes).toBeGreaterThanOrEqual(3 * MIB);
  expect(copy.allocatedBytes - (copy.exclusiveBytes ?? 0)).toBeGreaterThanOrEqual(4 * MIB);
  await expectFreed(bed, mosaic, "copy");
}

async function compareRecords(bed: Bed, mosaic: Mosaic): Promise<void> {
  const listed = mosaic.listVolumes();
  expect(listed.map(({ name, parent }) => `${name} of ${parent}`)).toEqual([
    "copy of web",
    "other of web",
    "web of null",
  ]);
  for (const { parent, attachedAs, mountedAt, ...record } of listed) {
    const path = join(bed.location, record.storedName);
    const attribute = run("getfattr", "--only-values", "-n", "trusted.mosaic.volume", path);
    expect({ version: 1, ...record }).toEqual(JSON.parse(attribute));
    if (bed.row.backend === "loop")
      expect(record.sizeBytes).toBe(readNumbers("stat", "-c", "%s", path)[0] ?? 0);
    expect(parent === null).toBe(record.parentId === null);
    expect([attachedAs, mountedAt]).toEqual([null, []]);
  }
  expect((await mosaic.statVolume("web")).clones).toEqual(
    ["copy", "other"].map((name) => expect.stringMatching(name)),
  );
  expect((await mosaic.statVolume("copy")).clones).toEqual([]);
}

/** A drop frees what info called exclusive, but for the filesystem's own blocks and what it keeps in reserve. */
async function expectFreed(bed: Bed, mosaic: Mosaic, name: string): Promise<void> {
  const tolerance = MIB;
  const { exclusiveBytes, allocatedBytes } = await mosaic.statVolume(name);
  // Where files may share blocks unseen nothing is said; here they share none.
  const expected = exclusiveBytes ?? allocatedBytes;
  const before = await measureUsed(bed);
  await mosaic.dropVolume(name);
  let freed = 0;
  await until("the blocks to be free", async () => {
    freed = before - (await measureUsed(bed));
    return freed >= expected - tolerance;
  });
  expect(freed).toBeLessThanOrEqual(expected + tolerance);
}

/** What is in use when everything is written and what was removed is free: btrfs does that later. */
async function measureUsed(bed: Bed): Promise<number> {
  const isBtrfs = bed.row.filesystem === "btrfs";
  const seen = [Number.NaN];
  await until("a filesystem at rest", () => {
    // Unlike syncfs(2) it wakes up who removes subvolumes.
    if (isBtrfs) run("btrfs", "filesystem", "sync", bed.location);
    else run("sync", "-f", bed.location);
    seen.push(readSpace(bed).usedBytes);
    const isEmptied = !isBtrfs || run("btrfs", "subvolume", "list", "-d", bed.location) === "";
    return isEmptied && new Set(seen.slice(-3)).size === 1;
  });
  return seen.at(-1) ?? Number.NaN;
}
