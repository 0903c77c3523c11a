import { afterEach, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { killAtStep } from "../support/killing.ts";
import { makeRandom } from "../support/random.ts";
import { sumSparse } from "../support/resizing.ts";
import { loopImagesBelow } from "../support/snapshot.ts";
import { Holders } from "./holders.ts";
import { expectRefusal, moctl, startMoctl, succeed, succeedJson } from "./moctl.ts";

// moctl resize, as people and programs see it, and under kills.

const MIB = 1024 ** 2;
const ROUNDS = 16;

describeOnBed(BEDS.loop[1], (bed) => {
  const holders = new Holders();
  afterEach(async () => {
    await holders.release();
    clearBed(bed);
  });
  test("a mounted volume grows, and df shows it", () => growMounted(bed));
  test("a volume grows that is mounted in another mount namespace only", () => growElsewhere(bed, holders));
  test("a volume becomes smaller only when it is asked to", () => shrink(bed));
  test("every refusal has its exit status and changes nothing", () => refuse(bed, holders));
  test("--dry-run prints the steps and changes nothing", () => plan(bed));
  test("several at once come one after the other", () => race(bed));
  test("a killed resize is found by check, and mended by it", () => mend(bed));
  test(`${ROUNDS} kills at random moments leave a volume whole, and the same command completes it`, () =>
    killAtRandom(bed));
});

function create(bed: Bed, filesystem: string, size: string, name = "web"): string {
  const config = bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]);
  expect(succeed(config, "create", "fs", name, size)).toBe("");
  return config;
}

function readDf(path: string, ...prefix: readonly string[]): number {
  return Number(
    run(...prefix, "df", "--output=size", "--block-size=1", path)
      .split("\n")[1]
      ?.trim(),
  );
}

function growMounted(bed: Bed): void {
  for (const [filesystem, from, to] of [
    ["xfs", "300m", "600m"],
    ["btrfs", "256m", "512m"],
  ] as const) {
    create(bed, filesystem, from, filesystem);
    const mountPoint = bed.makeMountPoint();
    succeed(bed.config, "mount", filesystem, mountPoint);
    const before = readDf(mountPoint);
    expect(succeed(bed.config, "resize", filesystem, to)).toBe("");
    expect(readDf(mountPoint) / before).toBeGreaterThan(1.8);
    const record = succeedJson(bed.config, "resize", filesystem, to);
    const details = succeedJson(bed.config, "info", filesystem);
    expect(record).toMatchObject({ name: filesystem, sizeBytes: Number.parseInt(to, 10) * MIB });
    expect(details).toMatchObject({
      sizeBytes: record.sizeBytes,
      virtualBytes: record.sizeBytes,
      inside: { sizeBytes: readDf(mountPoint) },
    });
    succeed(bed.config, "umount", filesystem, mountPoint);
  }
}

async function growElsewhere(bed: Bed, holders: Holders): Promise<void> {
  create(bed, "xfs", "300m");
  const mountPoint = bed.makeMountPoint();
  succeed(bed.config, "mount", "web", mountPoint);
  const pid = await holders.holdInNamespace(":");
  run("umount", mountPoint);
  const enter = ["nsenter", "--mount", "--target", String(pid)];
  const before = readDf(mountPoint, ...enter);
  succeed(bed.config, "resize", "web", "600m");
  expect(readDf(mountPoint, ...enter) / before).toBeGreaterThan(1.8);
}

function shrink(bed: Bed): void {
  create(bed, "ext4", "64m");
  expectRefusal(bed.directory, [bed.config, "resize", "web", "32m"], {
    exit: 2,
    code: "INVALID_ARGUMENT",
    says: 'Cannot resize "web": it has 64M, and becomes smaller only with --shrink',
  });
  expect(succeed(bed.config, "resize", "--shrink", "web", "32m")).toBe("");
  expect(succeedJson(bed.config, "resize", "web", "32m", "--shrink")).toMatchObject({ sizeBytes: 32 * MIB });
  expect(statSync(join(bed.location, "web")).size).toBe(32 * MIB);
  expect(succeed(bed.config, "list").split("\n")[1]).toMatch(/^web +fs +ext4 +32M /);
  run("e2fsck", "-fn", join(bed.location, "web"));
}

async function refuse(bed: Bed, holders: Holders): Promise<void> {
  create(bed, "ext4", "64m");
  create(bed, "xfs", "304m", "large");
  succeed(bed.config, "create", "disk", "disk", "2m");
  const { directory } = bed;
  const refused = (args: readonly string[], exit: number, code: string, says: string | RegExp) =>
    expectRefusal(directory, [bed.config, "resize", ...args], { exit, code, says, times: false });
  refused(["--shrink", "large", "300m"], 8, "UNSUPPORTED", "xfs cannot shrink");
  refused(["--shrink", "disk", "1m"], 8, "UNSUPPORTED", "it is a disk");
  refused(["none", "1g"], 3, "NOT_FOUND", "there is no volume");
  refused(["web", "4097"], 2, "INVALID_ARGUMENT", "multiples of 4096 bytes");
  refused(["--shrink", "web", "4m"], 2, "INVALID_ARGUMENT", "ext4 can be resized to 8M or more");
  refused(["web", "5000t"], 2, "INVALID_ARGUMENT", "the largest here is");
  const mountPoint = bed.makeMountPoint();
  succeed(bed.config, "mount", "web", mountPoint);
  refused(["--shrink", "web", "32m"], 5, "BUSY", `it is mounted at "${mountPoint}"`);
  run("fallocate", "-l", "40M", join(mountPoint, "much"));
  succeed(bed.config, "umount", "web", mountPoint);
  refused(
    ["--shrink", "web", "32m"],
    1,
    "TOOL_FAILED",
    /did not fit into 32M: .* the smallest size is about \d+ bytes/,
  );
  run("e2fsck", "-fn", join(bed.location, "web"));
  succeed(bed.config, "mount", "-o", "ro", "web", mountPoint);
  refused(["web", "128m"], 5, "BUSY", "in use read-only: unmount it first");
  succeed(bed.config, "umount", "web", mountPoint);
  const pid = await holders.hold('exec 7<>"$1"', join(bed.location, "web"));
  refused(["web", "128m"], 5, "BUSY", `it is open in process ${pid} `);
}

function plan(bed: Bed): void {
  create(bed, "btrfs", "512m");
  const image = join(bed.location, "web");
  const before = sumSparse(image) + run("getfattr", "-d", "-m", "-", "--absolute-names", image);
  for (const [args, step] of [
    [["web", "1g"], `truncate -s ${1024 * MIB} ${image}`],
    [["--shrink", "web", "256m"], `btrfs filesystem resize ${256 * MIB} `],
  ] as const) {
    const { exit, stdout, stderr } = moctl([bed.config, "--dry-run", "resize", ...args]);
    expect({ exit, said: `${stdout}${stderr}` }).toEqual({ exit: 0, said: expect.stringContaining(step) });
  }
  expect(sumSparse(image) + run("getfattr", "-d", "-m", "-", "--absolute-names", image)).toBe(before);
  expect(existsSync(join(bed.location, ".mosaic"))).toBe(false);
}

async function race(bed: Bed): Promise<void> {
  create(bed, "ext4", "64m");
  const ends = await Promise.all(
    ["32m", "48m", "32m", "40m"].map(
      (size) => startMoctl([bed.config, "resize", "--shrink", "web", size]).ended,
    ),
  );
  expect(ends).toEqual(ends.map(() => ({ exit: 0, stdout: "", stderr: "" })));
  const { sizeBytes } = succeedJson(bed.config, "info", "web");
  expect([32, 40, 48].map((size) => size * MIB)).toContain(Number(sizeBytes));
  expect(statSync(join(bed.location, "web")).size).toBe(Number(sizeBytes));
  run("e2fsck", "-fn", join(bed.location, "web"));
  expect(succeed(bed.config, "check")).toBe("problems: 0, repaired: 0, notes: 0\n");
}

/** A program that is killed before it writes the record has grown all the rest. */
function mend(bed: Bed): void {
  create(bed, "xfs", "300m");
  const mountPoint = bed.makeMountPoint();
  succeed(bed.config, "mount", "web", mountPoint);
  const before = readDf(mountPoint);
  const values = { volume: "web", sizeBytes: 600 * MIB };
  // The second step comes right after the file has grown.
  expect(killAtStep(bed.config, "kill-before", 2, "resize", values)).toBe(true);
  expect(moctl([bed.config, "check"])).toMatchObject({
    exit: 10,
    stdout: expect.stringContaining(`its record says ${300 * MIB} bytes, its image has ${600 * MIB}`),
  });
  expect(readDf(mountPoint)).toBe(before);
  expect(succeed(bed.config, "check", "--repair")).toContain("problems: 0, repaired: 1, notes: 0\n");
  expect(readDf(mountPoint) / before).toBeGreaterThan(1.8);
  expect(succeed(bed.config, "check")).toBe("problems: 0, repaired: 0, notes: 0\n");
}

async function killAtRandom(bed: Bed): Promise<void> {
  const random = makeRandom(2);
  create(bed, "ext4", "64m");
  const mountPoint = bed.makeMountPoint();
  succeed(bed.config, "mount", "web", mountPoint);
  run("dd", "if=/dev/urandom", `of=${mountPoint}/data`, "bs=1M", "count=8", "conv=fsync", "status=none");
  const sum = run("sha256sum", join(mountPoint, "data"));
  succeed(bed.config, "umount", "web", mountPoint);
  const start = performance.now();
  succeed(bed.config, "resize", "--shrink", "web", "48m");
  const longestMs = performance.now() - start;
  let size = 48;
  let killed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const next = size === 48 ? 32 : 48;
    const child = startMoctl([bed.config, "resize", "--shrink", "web", `${next}m`]);
    await Promise.race([child.exited, Bun.sleep(random() * longestMs)]);
    child.kill("SIGKILL");
    if ((await child.ended).exit === null) killed++;
    const { sizeBytes } = succeedJson(bed.config, "info", "web");
    expect([size * MIB, next * MIB]).toContain(Number(sizeBytes));
    // A tool that outlives its moctl may still hold a device.
    await until("the devices to go", () => loopImagesBelow(bed.location).length === 0);
    succeed(bed.config, "resize", "--shrink", "web", `${next}m`);
    size = next;
    expect(statSync(join(bed.location, "web")).size).toBe(size * MIB);
    run("e2fsck", "-fn", join(bed.location, "web"));
  }
  expect(killed).toBeGreaterThan(ROUNDS / 8);
  succeed(bed.config, "mount", "web", mountPoint);
  expect(run("sha256sum", join(mountPoint, "data"))).toBe(sum);
  succeed(bed.config, "umount", "web", mountPoint);
  await until("the sweep", () => {
    succeed(bed.config, "check", "--repair");
    return !existsSync(join(bed.location, ".mosaic"));
  });
}
