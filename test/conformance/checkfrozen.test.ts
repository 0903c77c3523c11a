import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { tryLock } from "../../src/system/libc.ts";
import { Holders } from "../e2e/holders.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkOnly, expectDecision } from "../support/checking.ts";
import { listBedDevices } from "../support/devices.ts";
import { until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { freeze, thawAll, thawLater } from "../support/freezing.ts";

// Frozen filesystems inside of volumes: whoever writes to one waits. Check tells how to thaw it, and never does it.

const SIZES = { ext4: 16, xfs: 300, btrfs: 128 } as const;

describeOnBed(BEDS.loop[1], (bed) => {
  const holders = new Holders();
  afterEach(async () => {
    thawAll();
    // The way to a frozen filesystem of another namespace ends with its process.
    await holders.release();
    clearBed(bed);
  });
  for (const filesystem of ["ext4", "xfs", "btrfs"] as const) {
    test(`${filesystem} that is frozen is found, and thawed by the command of the advice`, () =>
      findFrozen(bed, filesystem));
    test(`${filesystem} that is frozen in another mount namespace is found, and thawed from here`, () =>
      findFrozenElsewhere(bed, filesystem, holders));
    test(`${filesystem} that was unmounted frozen holds its device, until it is thawed`, () =>
      findOutOfReach(bed, filesystem));
    test(`${filesystem} that is read-only, or thawed, or just mounted, is not`, () =>
      passThawed(bed, filesystem));
  }
  test("what a command freezes while it is at work is not reported", () => passClone(bed));
  test("what is mounted over a volume is not touched by the look", () => keepCover(bed));
});

/** Makes a volume with this filesystem inside; gives its mount point, where it is not mounted. */
async function makeVolume(bed: Bed, filesystem: keyof typeof SIZES): Promise<string> {
  const config = bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]);
  await using mosaic = await openMosaic(config);
  await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZES[filesystem] * 1024 ** 2 });
  return bed.makeMountPoint();
}

async function mount(bed: Bed, mountPoint: string, readOnly = false): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.mountVolume("web", mountPoint, { readOnly });
}

const FROZEN = { code: "frozen", severity: "problem", subject: "web" } as const;

async function findFrozen(bed: Bed, filesystem: keyof typeof SIZES): Promise<void> {
  const mountPoint = await makeVolume(bed, filesystem);
  await mount(bed, mountPoint);
  freeze(mountPoint);
  const { advice } = await expectDecision(bed, {
    ...FROZEN,
    message: expect.stringContaining(`"${mountPoint}", is frozen`),
    advice: `fsfreeze --unfreeze ${mountPoint}`,
  });
  run("sh", "-c", advice ?? "");
  writeFileSync(join(mountPoint, "file"), "written");
  expect(await checkOnly(bed)).toEqual([]);
}

async function findFrozenElsewhere(
  bed: Bed,
  filesystem: keyof typeof SIZES,
  holders: Holders,
): Promise<void> {
  const mountPoint = await makeVolume(bed, filesystem);
  await mount(bed, mountPoint);
  // The other namespace is a copy of this one, with the mount.
  const pid = await holders.holdInNamespace('fsfreeze --freeze "$1"', mountPoint);
  run("umount", mountPoint);
  thawLater(`/proc/${pid}/root${mountPoint}`);
  const { advice } = await expectDecision(bed, {
    ...FROZEN,
    message: expect.stringContaining(mountPoint),
    advice: `nsenter -m -t ${pid} fsfreeze --unfreeze ${mountPoint}`,
  });
  run("sh", "-c", advice ?? "");
  run("nsenter", "-m", "-t", String(pid), "touch", join(mountPoint, "file"));
  expect(await checkOnly(bed)).toEqual([]);
}

async function findOutOfReach(bed: Bed, filesystem: keyof typeof SIZES): Promise<void> {
  const mountPoint = await makeVolume(bed, filesystem);
  await mount(bed, mountPoint);
  const device = run("findmnt", "-n", "-o", "SOURCE", mountPoint).trim();
  run("fsfreeze", "--freeze", mountPoint);
  run("umount", mountPoint);
  try {
    await expectDecision(bed, {
      code: "stale-device",
      severity: "problem",
      subject: "web",
      message: expect.stringContaining(`${device} is to go, but a filesystem that is mounted nowhere has it`),
      advice: `mount ${device} somewhere, thaw it with fsfreeze --unfreeze, and unmount it`,
    });
  } finally {
    // What the advice says.
    run("mount", device, mountPoint);
    run("fsfreeze", "--unfreeze", mountPoint);
    run("umount", mountPoint);
  }
  await until("the device to go", () => listBedDevices(bed).length === 0);
  expect(await checkOnly(bed)).toEqual([]);
}

async function passThawed(bed: Bed, filesystem: keyof typeof SIZES): Promise<void> {
  const mountPoint = await makeVolume(bed, filesystem);
  await mount(bed, mountPoint);
  expect(await checkOnly(bed)).toEqual([]);
  freeze(mountPoint);
  run("fsfreeze", "--unfreeze", mountPoint);
  expect(await checkOnly(bed)).toEqual([]);
  run("umount", mountPoint);
  await until("the device to go", () => listBedDevices(bed).length === 0);
  await mount(bed, mountPoint, true);
  expect(await checkOnly(bed)).toEqual([]);
  expect(() => writeFileSync(join(mountPoint, "file"), "x")).toThrow("EROFS");
}

/** A clone of a mounted volume has its lock while it freezes it. */
async function passClone(bed: Bed): Promise<void> {
  const mountPoint = await makeVolume(bed, "ext4");
  await mount(bed, mountPoint);
  const fd = openSync(join(bed.location, "web"), "r");
  try {
    expect(tryLock(fd)).toBe(true);
    freeze(mountPoint);
    expect(await checkOnly(bed)).toEqual([]);
  } finally {
    closeSync(fd);
  }
  expect(await checkOnly(bed)).toMatchObject([FROZEN]);
  run("fsfreeze", "--unfreeze", mountPoint);
}

/** The look at a read-only filesystem would make it writable. */
async function keepCover(bed: Bed): Promise<void> {
  const mountPoint = await makeVolume(bed, "ext4");
  await mount(bed, mountPoint);
  const image = join(bed.directory, "cover");
  run("truncate", "-s", "16M", image);
  run("mkfs.ext4", "-q", image);
  run("mount", "-o", "loop,ro", image, mountPoint);
  const line = () =>
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((text) => text.includes(mountPoint));
  const before = line();
  expect(before).toHaveLength(2);
  expect(await checkOnly(bed)).toEqual([]);
  expect(line()).toEqual(before);
  expect(() => writeFileSync(join(mountPoint, "file"), "x")).toThrow("EROFS");
  run("umount", mountPoint);
}
