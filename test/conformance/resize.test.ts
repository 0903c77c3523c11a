import { afterEach, expect, test } from "bun:test";
import { readFileSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { plannedSteps } from "../../src/system/steps.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { loopImagesBelow, snapshotTree } from "../support/snapshot.ts";

// Images get another size, with the filesystem that is in them, and lose nothing.

const MIB = 1024 ** 2;
const SIZES = { ext4: 32, xfs: 300, btrfs: 160 } as const;
const FILESYSTEMS = Object.keys(SIZES) as (keyof typeof SIZES)[];
const CHECKS = {
  ext4: ["e2fsck", "-fn"],
  xfs: ["xfs_repair", "-n"],
  btrfs: ["btrfs", "check"],
} as const;

/** The kernel grows an ext4 in use only for those: capabilities(7). */
const HAS_SYS_RESOURCE = (() => {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return ((BigInt(`0x${mask}`) >> 24n) & 1n) === 1n;
})();

for (const row of ALL_BEDS.filter(({ backend }) => backend === "loop")) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    for (const filesystem of FILESYSTEMS) {
      test(`${filesystem} grows while nobody uses it`, () => growUnused(bed, filesystem));
      test(`${filesystem} grows while it is mounted`, () => growMounted(bed, filesystem));
    }
    for (const filesystem of ["ext4", "btrfs"] as const)
      test(`${filesystem} becomes smaller, and not below what it holds`, () => shrink(bed, filesystem));
    test("what cannot become smaller is refused, and nothing changes", () => refuseShrink(bed));
    test("what is in use does not become smaller, and says by whom", () => refuseShrinkInUse(bed));
    test("a disk grows while it is attached and open", () => growDisk(bed));
    test("an attached filesystem that a program has open is left alone", () => refuseHeld(bed));
    test("a plan of a resize changes nothing", () => planResize(bed));
  });
}

async function openWith(bed: Bed, filesystem: string): Promise<Mosaic> {
  return openMosaic(bed.writeConfig(`with-${filesystem}`, [`default_fs: ${filesystem}`]));
}

/** Makes a volume with something in it that can be recognized; gives where it was mounted. */
async function makeVolume(bed: Bed, mosaic: Mosaic, filesystem: keyof typeof SIZES): Promise<string> {
  const mountPoint = bed.makeMountPoint();
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZES[filesystem] * MIB });
  await mosaic.mountVolume("web", mountPoint);
  writeFileSync(join(mountPoint, "data"), Buffer.alloc(3 * MIB, "precious"));
  await mosaic.unmountVolume("web", mountPoint);
  return mountPoint;
}

function expectData(mountPoint: string): void {
  expect(readFileSync(join(mountPoint, "data")).equals(Buffer.alloc(3 * MIB, "precious"))).toBe(true);
}

/** The size of the image, of its record and of the filesystem are of one size, and the filesystem is whole. */
async function expectSize(
  bed: Bed,
  mosaic: Mosaic,
  filesystem: keyof typeof SIZES,
  sizeBytes: number,
): Promise<void> {
  const image = join(bed.location, "web");
  expect(statSync(image).size).toBe(sizeBytes);
  expect((await mosaic.getVolume("web")).sizeBytes).toBe(sizeBytes);
  expect(loopImagesBelow(bed.location)).toEqual([]);
  run(...CHECKS[filesystem], image);
  const inside = (await mosaic.statVolume("web")).inside?.sizeBytes ?? 0;
  expect(inside).toBeLessThanOrEqual(sizeBytes);
  // The log of XFS and the tables of ext4 are not counted.
  expect(inside).toBeGreaterThan(sizeBytes - 72 * MIB - sizeBytes * 0.12);
  expect((await mosaic.check()).findings).toEqual([]);
}

async function growUnused(bed: Bed, filesystem: keyof typeof SIZES): Promise<void> {
  await using mosaic = await openWith(bed, filesystem);
  const mountPoint = await makeVolume(bed, mosaic, filesystem);
  const before = await mosaic.getVolume("web");
  const sizeBytes = 2 * SIZES[filesystem] * MIB;
  expect(await mosaic.resizeVolume("web", sizeBytes)).toEqual({ ...before, sizeBytes });
  await expectSize(bed, mosaic, filesystem, sizeBytes);
  await mosaic.resizeVolume("web", sizeBytes);
  await expectSize(bed, mosaic, filesystem, sizeBytes);
  await mosaic.mountVolume("web", mountPoint);
  expectData(mountPoint);
  const { blocks, bsize } = statfsSync(mountPoint);
  expect(blocks * bsize).toBeGreaterThan(1.4 * SIZES[filesystem] * MIB);
  await mosaic.unmountVolume("web", mountPoint);
}

async function growMounted(bed: Bed, filesystem: keyof typeof SIZES): Promise<void> {
  await using mosaic = await openWith(bed, filesystem);
  const mountPoint = await makeVolume(bed, mosaic, filesystem);
  await mosaic.mountVolume("web", mountPoint);
  const size = () => statfsSync(mountPoint).blocks * statfsSync(mountPoint).bsize;
  const before = size();
  const sizeBytes = 2 * SIZES[filesystem] * MIB;
  if (filesystem === "ext4" && !HAS_SYS_RESOURCE) {
    const state = statSync(join(bed.location, "web")).size;
    const error = await expectError("PERMISSION_DENIED", () => mosaic.resizeVolume("web", sizeBytes));
    expect(error.message).toContain("unmount and detach it first");
    expect(statSync(join(bed.location, "web")).size).toBe(state);
    expect(size()).toBe(before);
  } else {
    await mosaic.resizeVolume("web", sizeBytes);
    expect(size()).toBeGreaterThan(before + 0.8 * SIZES[filesystem] * MIB);
    const [device = ""] = run("losetup", "-n", "-O", "NAME", "-j", join(bed.location, "web"))
      .trim()
      .split("\n");
    expect(Number(run("blockdev", "--getsize64", device))).toBe(sizeBytes);
  }
  expectData(mountPoint);
  writeFileSync(join(mountPoint, "more"), Buffer.alloc(MIB, 1));
  await mosaic.unmountVolume("web", mountPoint);
  run(...CHECKS[filesystem], join(bed.location, "web"));
  expect((await mosaic.check()).findings).toEqual([]);
}

async function shrink(bed: Bed, filesystem: "ext4" | "btrfs"): Promise<void> {
  await using mosaic = await openWith(bed, filesystem);
  const mountPoint = await makeVolume(bed, mosaic, filesystem);
  // btrfs shrinks to 256 MiB at the least.
  const small = { ext4: 32, btrfs: 256 }[filesystem] * MIB;
  await mosaic.resizeVolume("web", 2 * small);
  const refusal = await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", small));
  expect(refusal.message).toContain("--shrink");
  const record = await mosaic.resizeVolume("web", small, { shrink: true });
  expect(record.sizeBytes).toBe(small);
  await expectSize(bed, mosaic, filesystem, small);
  await mosaic.mountVolume("web", mountPoint);
  expectData(mountPoint);
  writeFileSync(join(mountPoint, "big"), Buffer.alloc(16 * MIB, 7));
  await mosaic.unmountVolume("web", mountPoint);
  const before = snapshotTree(bed.location);
  if (filesystem === "ext4") {
    const error = await expectError("TOOL_FAILED", () =>
      mosaic.resizeVolume("web", 8 * MIB, { shrink: true }),
    );
    expect(error.details.smallestBytes).toBeGreaterThan(16 * MIB);
    expect(snapshotTree(bed.location)).toEqual(before);
  }
  await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", 4 * MIB, { shrink: true }));
  expect(snapshotTree(bed.location)).toEqual(before);
  run(...CHECKS[filesystem], join(bed.location, "web"));
}

async function refuseShrink(bed: Bed): Promise<void> {
  await using mosaic = await openWith(bed, "xfs");
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: 400 * MIB });
  await mosaic.createVolume("disk", { kind: "disk", sizeBytes: 16 * MIB });
  const before = snapshotTree(bed.location);
  const options = { shrink: true };
  await expectError("UNSUPPORTED", () => mosaic.resizeVolume("web", 300 * MIB, options));
  await expectError("UNSUPPORTED", () => mosaic.resizeVolume("disk", 8 * MIB, options));
  await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("disk", 16 * MIB + 1, options));
  await expectError("NOT_FOUND", () => mosaic.resizeVolume("none", 16 * MIB, options));
  expect(snapshotTree(bed.location)).toEqual(before);
}

async function refuseShrinkInUse(bed: Bed): Promise<void> {
  await using mosaic = await openWith(bed, "ext4");
  const mountPoint = await makeVolume(bed, mosaic, "ext4");
  const image = join(bed.location, "web");
  const refuse = async () => {
    const before = snapshotTree(bed.location);
    const error = await expectError("BUSY", () => mosaic.resizeVolume("web", 16 * MIB, { shrink: true }));
    expect(error.details.holders).not.toEqual([]);
    expect(snapshotTree(bed.location)).toEqual(before);
  };
  await mosaic.mountVolume("web", mountPoint);
  await refuse();
  await mosaic.unmountVolume("web", mountPoint);
  await mosaic.attachVolume("web");
  await refuse();
  await mosaic.detachVolume("web");
  const child = Bun.spawn(["sleep", "1000"], { stdio: [Bun.file(image), "ignore", "ignore"] });
  try {
    await refuse();
  } finally {
    child.kill();
    await child.exited;
  }
  await mosaic.mountVolume("web", mountPoint, { readOnly: true });
  await expectError("BUSY", () => mosaic.resizeVolume("web", 64 * MIB));
  expect(statSync(image).size).toBe(32 * MIB);
  await mosaic.unmountVolume("web", mountPoint);
}

async function growDisk(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("disk", { kind: "disk", sizeBytes: 16 * MIB });
  const device = await mosaic.attachVolume("disk");
  const child = Bun.spawn(["sleep", "1000"], { stdio: [Bun.file(device), "ignore", "ignore"] });
  try {
    await mosaic.resizeVolume("disk", 32 * MIB);
    expect(Number(run("blockdev", "--getsize64", device))).toBe(32 * MIB);
    expect((await mosaic.statVolume("disk")).virtualBytes).toBe(32 * MIB);
  } finally {
    child.kill();
    await child.exited;
  }
  await mosaic.detachVolume("disk");
}

async function refuseHeld(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: 16 * MIB });
  const device = await mosaic.attachVolume("web");
  const child = Bun.spawn(["sleep", "1000"], { stdio: [Bun.file(device), "ignore", "ignore"] });
  try {
    const error = await expectError("BUSY", () => mosaic.resizeVolume("web", 32 * MIB));
    expect(error.details.holders).toContainEqual(expect.objectContaining({ pid: child.pid }));
    expect(statSync(join(bed.location, "web")).size).toBe(16 * MIB);
  } finally {
    child.kill();
    await child.exited;
  }
  await mosaic.detachVolume("web");
}

async function planResize(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: 32 * MIB });
  const before = snapshotTree(bed.location);
  const plan: string[] = [];
  await using planning = await openMosaic(bed.config, { steps: plannedSteps((text) => plan.push(text)) });
  await planning.resizeVolume("web", 64 * MIB);
  expect(plan).toContain(`truncate -s ${64 * MIB} ${join(bed.location, "web")}`);
  plan.length = 0;
  await planning.resizeVolume("web", 16 * MIB, { shrink: true });
  expect(plan.join("\n")).toContain("resize2fs");
  expect(plan.join("\n")).toContain("mv --exchange");
  expect(snapshotTree(bed.location)).toEqual(before);
}
