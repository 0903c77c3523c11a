import { afterEach, expect, test } from "bun:test";
import { existsSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { Holders } from "../e2e/holders.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkAndRepair, checkOnly, createVolume, expectDecision } from "../support/checking.ts";
import { until } from "../support/expect.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { checksum } from "../support/resizing.ts";

// What check says of the loop devices of images, each provoked for real.

const SOURCE = join(import.meta.dir, "../../src/system");

for (const row of BEDS.loop) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearDevices(bed);
      clearBed(bed);
    });
    test("a device whose image was removed or replaced keeps its data, and the advice saves it", () =>
      findUnused(bed));
    test("a device whose image was removed is told with those who use it", () => findUsed(bed, holders));
    test("two devices of one image", () => findTwo(bed));
    // A process that has a device open is given a second to go on, so one bed has to do.
    if (row === BEDS.loop[0])
      test("a device that is to go, but that a process has open", () => findStale(bed, holders));
    test("a device of a command at work is none of these", () => passWork(bed));
    test("an image whose size is not that of its record", () => findCutOff(bed));
    if (row.filesystem === "btrfs")
      test("a device whose image went with its subvolume", () => findWithoutSubvolume(bed));
  });
}

/** Detaches also the devices of images that are gone. */
function clearDevices(bed: Bed): void {
  for (const line of run("losetup", "--list", "--raw", "-n", "-O", "NAME,BACK-FILE").split("\n"))
    if (line.includes(` ${bed.location}/`)) run("losetup", "-d", line.split(" ")[0] ?? "");
}

async function attach(bed: Bed, name: string): Promise<string> {
  await createVolume(bed, name);
  await using mosaic = await openMosaic(bed.config);
  return await mosaic.attachVolume(name);
}

function backingFile(device: string): string {
  return run("losetup", "--list", "--raw", "-n", "-O", "BACK-FILE", device).trim();
}

async function findUnused(bed: Bed): Promise<void> {
  const removed = await attach(bed, "a/web");
  await createVolume(bed, "a/stays");
  rmSync(join(bed.location, "a/web"));
  const dead = { code: "dead-device", severity: "problem" } as const;
  const path = join(bed.location, "a/web");
  const sum = checksum(removed);
  const { advice } = await expectDecision(bed, {
    ...dead,
    subject: removed,
    message: `its image "${path}" was removed behind it`,
  });
  // The advice is what saves the data.
  expect(advice).toContain(`(cp --sparse=always ${removed} ${path}.saved), then losetup -d ${removed}`);
  run("cp", "--sparse=always", removed, join(bed.directory, "saved"));
  expect(checksum(join(bed.directory, "saved"))).toBe(sum);
  run("losetup", "-d", removed);
  const replaced = await attach(bed, "web");
  renameSync(makeForeign(bed, "new"), join(bed.location, "web"));
  const [foreign, finding] = await checkOnly(bed);
  expect([foreign, finding]).toMatchObject([
    { code: "foreign", subject: "web" },
    { ...dead, subject: replaced, message: expect.stringContaining("was replaced behind it") },
  ]);
  expect(await checkAndRepair(bed)).toMatchObject([{ code: "foreign" }, { ...dead, isRepaired: false }]);
  run("losetup", "-d", replaced);
}

async function findUsed(bed: Bed, holders: Holders): Promise<void> {
  const device = await attach(bed, "web");
  const mountPoint = bed.makeMountPoint();
  run("mount", device, mountPoint);
  rmSync(join(bed.location, "web"));
  const dead = { code: "dead-device", severity: "problem", subject: device } as const;
  const advice = expect.stringContaining("end its use");
  await expectDecision(bed, { ...dead, advice, message: expect.stringContaining(`"${mountPoint}"`) });
  run("umount", mountPoint);
  if (bed.row === BEDS.loop[0]) {
    const pid = await holders.hold('exec 7<"$1"', device);
    await expectDecision(bed, { ...dead, advice, message: expect.stringContaining(`process ${pid} `) });
    await holders.release();
  }
  await expectDecision(bed, { ...dead, advice: expect.stringContaining("), then losetup -d") });
  run("losetup", "-d", device);
}

async function findTwo(bed: Bed): Promise<void> {
  const first = await attach(bed, "web");
  const second = run("losetup", "--find", "--show", join(bed.location, "web")).trim();
  const finding = await expectDecision(bed, {
    code: "two-devices",
    severity: "problem",
    subject: "web",
    advice: expect.stringContaining("losetup -d"),
  });
  for (const device of [first, second]) expect(finding.message).toContain(device);
  run("losetup", "-d", second);
  expect(await checkOnly(bed)).toEqual([]);
}

async function findStale(bed: Bed, holders: Holders): Promise<void> {
  const device = await attach(bed, "web");
  const pid = await holders.hold('exec 7<"$1"', device);
  run("losetup", "-d", device);
  await expectDecision(bed, {
    code: "stale-device",
    severity: "problem",
    subject: "web",
    message: expect.stringContaining(`${device} is to go, but it is open in process ${pid} `),
    advice: "end that use",
  });
  await holders.release();
  await until("the device to go", () => backingFile(device) === "");
  expect(await checkOnly(bed)).toEqual([]);
}

/** A command has the lock of its volume, and a device that shall go with it. */
async function passWork(bed: Bed): Promise<void> {
  const image = await createVolume(bed, "web");
  const code = `
    const { openSync } = await import("node:fs");
    const { tryLock } = await import("${SOURCE}/libc.ts");
    const { openLoopDevice } = await import("${SOURCE}/loop.ts");
    const { directSteps } = await import("${SOURCE}/steps.ts");
    const fd = openSync("${image}", "r+");
    tryLock(fd);
    await openLoopDevice(directSteps, "${image}", fd, false);
    console.log("ready");
    setInterval(() => {}, 1e6);`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
  try {
    await child.stdout.getReader().read();
    expect(run("losetup", "-j", image)).not.toBe("");
    run("truncate", "-s", "+4096", image);
    expect(await checkOnly(bed)).toEqual([]);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  await until("the device to go", () => run("losetup", "-j", image) === "");
  expect(await checkOnly(bed)).toMatchObject([{ code: "size-differs" }]);
}

async function findCutOff(bed: Bed): Promise<void> {
  const image = await createVolume(bed, "web");
  const [before, after] = [16 * 1024 ** 2, 17 * 1024 ** 2];
  run("truncate", "-s", String(after), image);
  expect(await checkOnly(bed)).toEqual([
    expect.objectContaining({
      code: "size-differs",
      severity: "problem",
      subject: "web",
      message: `its record says ${before} bytes, its image has ${after}: a resize was cut off`,
    }),
  ]);
}

async function findWithoutSubvolume(bed: Bed): Promise<void> {
  const subvolume = join(bed.location, "sub");
  run("btrfs", "-q", "subvolume", "create", subvolume);
  const image = makeForeign(bed, "sub/deep/web");
  const device = run("losetup", "--find", "--show", image).trim();
  expect(await checkOnly(bed)).toEqual([]);
  run("btrfs", "-q", "subvolume", "delete", subvolume);
  expect(existsSync(dirname(image))).toBe(false);
  await expectDecision(bed, { code: "dead-device", subject: device });
  run("losetup", "-d", device);
}
