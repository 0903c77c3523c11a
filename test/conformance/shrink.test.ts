import { afterEach, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { directSteps, type Mosaic, openMosaic, plannedSteps, type Steps } from "../../src/index.ts";
import { Holders } from "../e2e/holders.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkOnly, takeState } from "../support/checking.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import {
  expectSize,
  type Inside,
  MIB,
  makeVolume,
  openWith,
  START,
  takeWhole,
  unmount,
} from "../support/resizing.ts";

// Volumes become smaller as a copy that takes their place, when it is allowed and nobody uses them, or stay as they were.

const SHRINKABLE = ["ext4", "btrfs"] as const;

for (const row of BEDS.loop) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearBed(bed);
    });
    for (const inside of SHRINKABLE) {
      test(`${inside} becomes smaller, with its data and all that is noted on it`, () => shrink(bed, inside));
      test(`${inside} that holds more than would fit stays whole, and the smallest size is named`, () =>
        refuseFull(bed, inside));
    }
    test("xfs and disks cannot become smaller, and nothing does unasked", () => refuseNever(bed));
    if (row !== BEDS.loop[1]) return;
    for (const inside of SHRINKABLE) {
      test(`${inside} in use is BUSY`, () => refuseUse(bed, inside, holders));
      test(`${inside} that somebody opens meanwhile is BUSY`, () => refuseLate(bed, inside, holders));
      test(`${inside} with a log to replay becomes smaller, and nothing of it is lost`, () =>
        shrinkDirty(bed, inside));
      test(`${inside}: a plan changes nothing`, () => planShrink(bed, inside));
    }
  });
}

/** Locations that are filled to their end. */
const SMALL: readonly [location: Inside, insides: readonly Inside[], megabytes: number][] = [
  ["ext4", ["ext4", "btrfs"], 200],
  ["xfs", ["ext4"], 320],
  ["btrfs", ["ext4", "btrfs"], 400],
];

for (const [filesystem, insides, megabytes] of SMALL) {
  const row = { name: `a full location on ${filesystem}`, backend: "loop", filesystem } as const;
  describeOnBed(
    row,
    (bed) => {
      afterEach(() => clearBed(bed));
      for (const inside of insides)
        test(`${inside} that there is no room to copy stays whole`, () => runOut(bed, inside));
      test("a growth that could not be written is no success", () => growOnFull(bed));
    },
    megabytes * MIB,
  );
}

async function shrink(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, 2 * start);
  const image = join(bed.location, "web");
  run("setfattr", "-n", "user.note", "-v", "kept", image);
  chownSync(image, 5, 6);
  chmodSync(image, 0o640);
  const before = await mosaic.getVolume("web");
  for (const sizeBytes of [2 * start - 4096, start, start]) {
    const record = await mosaic.resizeVolume("web", sizeBytes, { shrink: true });
    expect(record).toEqual({ ...before, sizeBytes });
    expect(await expectSize(bed, mosaic, inside, sizeBytes, sum)).toEqual(record);
  }
  const { uid, gid, mode, nlink } = statSync(image);
  expect([uid, gid, mode & 0o7777, nlink]).toEqual([5, 6, 0o640, 1]);
  expect(run("getfattr", "--only-values", "-n", "user.note", image)).toBe("kept");
  expect(existsSync(join(bed.location, ".mosaic"))).toBe(false);
  expect(await checkOnly(bed)).toEqual([]);
  await mosaic.resizeVolume("web", 3 * start);
  await expectSize(bed, mosaic, inside, 3 * start, sum);
}

/** A refusal that leaves the volume as it was, to the last byte. */
async function refuse(
  bed: Bed,
  mosaic: Mosaic,
  code: Parameters<typeof expectError>[0],
  sizeBytes: number,
  says: string | RegExp,
  shrinks = true,
) {
  const before = takeWhole(bed);
  const error = await expectError(code, () => mosaic.resizeVolume("web", sizeBytes, { shrink: shrinks }));
  expect(error.message).toMatch(says);
  expect(takeWhole(bed)).toEqual(before);
  return error;
}

async function refuseFull(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const [used, wanted] = inside === "ext4" ? [24, 16] : [320, 256];
  const sizeBytes = 3 * START[inside];
  const sum = await makeVolume(bed, mosaic, sizeBytes);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  run("fallocate", "-l", `${used}M`, join(mountPoint, "much"));
  await unmount(bed, mosaic, mountPoint);
  const { details } = await refuse(
    bed,
    mosaic,
    "TOOL_FAILED",
    wanted * MIB,
    `what it holds did not fit into ${wanted}M: `,
  );
  const smallestBytes = Number(details.smallestBytes);
  expect(smallestBytes).toBeGreaterThan(used * MIB);
  expect(smallestBytes).toBeLessThan(sizeBytes);
  await expectSize(bed, mosaic, inside, sizeBytes, sum);
  // The size that was named is enough, with some room for what the tools need themselves.
  const enough = Math.ceil((smallestBytes * 1.2) / 4096) * 4096;
  await mosaic.resizeVolume("web", enough, { shrink: true });
  await expectSize(bed, mosaic, inside, enough, sum);
}

async function refuseNever(bed: Bed): Promise<void> {
  await using mosaic = await openWith(bed, "xfs");
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: 304 * MIB });
  for (const shrinks of [true, false])
    await refuse(bed, mosaic, "UNSUPPORTED", 300 * MIB, "xfs cannot shrink", shrinks);
  await mosaic.dropVolume("web");
  await mosaic.createVolume("web", { kind: "disk", sizeBytes: 2 * MIB });
  writeFileSync(join(bed.location, "web"), "content", { flag: "r+" });
  for (const shrinks of [true, false]) await refuse(bed, mosaic, "UNSUPPORTED", MIB, "it is a disk", shrinks);
  await mosaic.dropVolume("web");
  for (const inside of SHRINKABLE) {
    await using other = await openWith(bed, inside);
    await other.createVolume("web", { kind: "fs", sizeBytes: 2 * START[inside] });
    const says = /^Cannot resize "web": it has \d+M, and becomes smaller only with --shrink$/;
    await refuse(bed, other, "INVALID_ARGUMENT", START[inside], says, false);
    const minimum = inside === "ext4" ? 8 * MIB : 256 * MIB;
    const { details } = await refuse(bed, other, "INVALID_ARGUMENT", minimum - 4096, " or more");
    expect(details.minimumBytes).toBe(minimum);
    await other.dropVolume("web");
  }
}

async function refuseUse(bed: Bed, inside: Inside, holders: Holders): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, 2 * start);
  const refuseBusy = async (says: string) => {
    const before = takeState(bed);
    const { message } = await expectError("BUSY", () => mosaic.resizeVolume("web", start, { shrink: true }));
    expect(message).toContain(says);
    expect(takeState(bed)).toEqual(before);
  };
  const mountPoint = bed.makeMountPoint();
  for (const readOnly of [false, true]) {
    await mosaic.mountVolume("web", mountPoint, { readOnly });
    await refuseBusy(`it is mounted at "${mountPoint}"`);
    await unmount(bed, mosaic, mountPoint);
  }
  await mosaic.mountVolume("web", mountPoint);
  const elsewhere = await holders.holdInNamespace(":");
  run("umount", mountPoint);
  await refuseBusy(`it is mounted at "${mountPoint}" (pid ${elsewhere}, `);
  await holders.release();
  const pid = await holders.hold('exec 7<"$1"', join(bed.location, "web"));
  await refuseBusy(`it is open in process ${pid} `);
  await holders.release();
  const device = await mosaic.attachVolume("web");
  await refuseBusy(`it is attached as ${device}`);
  const user = await holders.hold('exec 7<"$1"', device);
  await refuseBusy(`open in process ${user} `);
  await holders.release();
  await mosaic.detachVolume("web");
  await expectSize(bed, mosaic, inside, 2 * start, sum);
}

/** Steps that do something else before the last look at who holds a volume. */
function interrupted(action: () => Promise<unknown>): Steps {
  return {
    planning: false,
    async take(step, take, planned) {
      if (step.text.startsWith("setfattr ")) await action();
      return directSteps.take(step, take, planned);
    },
  };
}

async function refuseLate(bed: Bed, inside: Inside, holders: Holders): Promise<void> {
  const start = START[inside];
  let sum = "";
  let pid = 0;
  {
    await using mosaic = await openWith(bed, inside);
    sum = await makeVolume(bed, mosaic, 2 * start);
  }
  const steps = interrupted(async () => {
    pid = await holders.hold('exec 7<"$1"', join(bed.location, "web"));
  });
  await using mosaic = await openMosaic(bed.config, { steps });
  await refuse(bed, mosaic, "BUSY", start, "it is open in process ");
  expect(pid).toBeGreaterThan(0);
  await holders.release();
  await expectSize(bed, mosaic, inside, 2 * start, sum);
}

/** A file that was written durably is only in the log of what a power cut leaves. */
async function shrinkDirty(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, 2 * start);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume("web", mountPoint);
  run("sync", "-f", mountPoint);
  writeFileSync(join(mountPoint, "late"), "just written", { flush: true });
  const copy = join(bed.directory, "copy");
  const image = join(bed.location, "web");
  run("cp", "--sparse=always", image, copy);
  await unmount(bed, mosaic, mountPoint);
  run("cp", "--sparse=always", copy, image);
  rmSync(copy);
  expect((await mosaic.statVolume("web")).inside).toBeNull();
  await mosaic.resizeVolume("web", start, { shrink: true });
  await expectSize(bed, mosaic, inside, start, sum);
  await mosaic.mountVolume("web", mountPoint);
  expect(readFileSync(join(mountPoint, "late"), "utf8")).toBe("just written");
  await unmount(bed, mosaic, mountPoint);
}

async function planShrink(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, 2 * start);
  const before = takeWhole(bed);
  const log: string[] = [];
  await using planning = await openMosaic(bed.config, { steps: plannedSteps((text) => log.push(text)) });
  await planning.resizeVolume("web", start, { shrink: true });
  expect(takeWhole(bed)).toEqual(before);
  const tool = { ext4: /^resize2fs .* 32768K$/, btrfs: /^btrfs filesystem resize 268435456 /, xfs: /^$/ };
  expect(log.filter((text) => tool[inside].test(text))).toHaveLength(1);
  expect(log.filter((text) => text.startsWith("mv --exchange "))).toHaveLength(1);
  await expectSize(bed, mosaic, inside, 2 * start, sum);
}

/** Fills a location to its last block. */
function fill(bed: Bed): string {
  const file = join(bed.location, "fill.tmp");
  const { bavail, bsize } = statfsSync(bed.location);
  Bun.spawnSync(["fallocate", "-l", String(Math.max(bavail * bsize - MIB, MIB)), file], { stderr: "ignore" });
  const more = ["bs=64K", "oflag=append", "conv=notrunc", "status=none"];
  Bun.spawnSync(["dd", "if=/dev/zero", `of=${file}`, ...more], { stderr: "ignore" });
  Bun.spawnSync(["sync", "-f", bed.location]);
  return file;
}

/** Room for the directories of an operation, not for a copy of all or what a shared copy changes. */
async function runOut(bed: Bed, inside: Inside): Promise<void> {
  await using mosaic = await openWith(bed, inside);
  const start = START[inside];
  const sum = await makeVolume(bed, mosaic, 3 * start, 16);
  for (const roomBytes of [0, 64 * 1024]) {
    const file = fill(bed);
    run("truncate", "-s", String(statSync(file).size - roomBytes), file);
    const says = "it is resized as a copy, for which the location needs room";
    await refuse(bed, mosaic, "NO_SPACE", 2 * start, says);
    rmSync(file);
    run("sync", "-f", bed.location);
    await expectSize(bed, mosaic, inside, 3 * start, sum);
  }
  await mosaic.resizeVolume("web", 2 * start, { shrink: true });
  await expectSize(bed, mosaic, inside, 2 * start, sum);
}

/** btrfs says of a change only later that it could not be written. */
async function growOnFull(bed: Bed): Promise<void> {
  await using mosaic = await openWith(bed, "btrfs");
  const start = START.btrfs;
  const sum = await makeVolume(bed, mosaic, start, 8);
  const file = fill(bed);
  let isDone = true;
  await mosaic.resizeVolume("web", 2 * start).catch(() => {
    isDone = false;
  });
  rmSync(file);
  run("sync", "-f", bed.location);
  // An error is allowed, a success that is none is not.
  if (isDone) await expectSize(bed, mosaic, "btrfs", 2 * start, sum);
  else if (bed.row.filesystem === "btrfs") expect((await mosaic.getVolume("web")).sizeBytes).toBe(start);
  await mosaic.resizeVolume("web", 2 * start);
  await expectSize(bed, mosaic, "btrfs", 2 * start, sum);
}
