import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileKeyOf } from "../../src/system/files.ts";
import {
  detachLoopDevice,
  findLoopDevice,
  keepLoopDevice,
  type LoopDevice,
  listLoopDevices,
  openLoopDevice,
} from "../../src/system/loop.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { loopImagesBelow } from "../support/snapshot.ts";

const SIZE = 1024 ** 2;
const SOURCE = join(import.meta.dir, "../../src/system");

for (const filesystem of ["ext4", "xfs"] as const)
  describeOnBed({ name: `loop devices on ${filesystem}`, backend: "loop", filesystem }, testLoopDevices);

interface LosetupRow {
  readonly name: string;
  readonly "back-file": string;
  readonly "back-ino": number;
  readonly ro: boolean;
  readonly autoclear: boolean;
  readonly "log-sec": number;
  readonly "maj:min": string;
}

/** The device of an image as losetup sees it. */
function losetupRow(image: string): LosetupRow | undefined {
  const columns = "NAME,BACK-FILE,BACK-INO,RO,AUTOCLEAR,LOG-SEC,MAJ:MIN";
  const text = run("losetup", "--json", "-O", columns, "-j", image);
  return text.trim() === "" ? undefined : JSON.parse(text).loopdevices[0];
}

function testLoopDevices(bed: Bed): void {
  const open: { fds: number[]; close: (() => void)[] } = { fds: [], close: [] };
  let images = 0;

  afterEach(() => {
    for (const close of open.close.splice(0)) close();
    for (const fd of open.fds.splice(0)) closeSync(fd);
    for (const image of loopImagesBelow(bed.location)) {
      const device = losetupRow(image)?.name;
      if (device) run("losetup", "-d", device);
    }
  });

  function makeImage(): string {
    const path = join(bed.location, `image-${images++}`);
    writeFileSync(path, Buffer.alloc(SIZE, images));
    return path;
  }

  function openImage(path = makeImage(), flags = "r+"): { path: string; fd: number } {
    const fd = openSync(path, flags);
    open.fds.push(fd);
    return { path, fd };
  }

  async function openDevice(image: { path: string; fd: number }, readOnly = false): Promise<LoopDevice> {
    const opened = await openLoopDevice(directSteps, image.path, image.fd, readOnly);
    open.close.push(() => opened.close());
    return opened.device;
  }

  const closeDevice = () => open.close.pop()?.();

  test("a device is made as losetup sees it, holds the image, and goes by itself when it is closed", async () => {
    const image = openImage();
    const device = await openDevice(image);
    expect(losetupRow(image.path)).toMatchObject({
      name: device.path,
      "back-ino": Number(run("stat", "-c", "%i", image.path)),
      "back-file": image.path,
      ro: false,
      autoclear: true,
      "log-sec": 512,
      "maj:min": expect.stringContaining(device.number),
    });
    expect(device).toMatchObject({ file: fileKeyOf(image.fd), readOnly: false, autoclear: true });
    expect(findLoopDevice(fileKeyOf(image.fd))).toEqual(device);
    writeFileSync(device.path, "written through the device");
    run("sync", device.path);
    expect(readFileSync(image.path).subarray(0, 26).toString()).toBe("written through the device");
    closeDevice();
    await until("autoclear", () => losetupRow(image.path) === undefined);
    expect(findLoopDevice(fileKeyOf(image.fd))).toBeUndefined();
  });

  test("an image open for reading only gives a read-only device", async () => {
    const image = openImage(makeImage(), "r");
    const device = await openDevice(image, true);
    expect(device.readOnly).toBe(true);
    expect(losetupRow(image.path)).toMatchObject({ ro: true, autoclear: true });
    expect(() => writeFileSync(device.path, "x")).toThrow();
  });

  test("a device is never read-only when it was to be written", async () => {
    const image = openImage(makeImage(), "r");
    await expect(openLoopDevice(directSteps, image.path, image.fd, false)).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("read-only, against what was asked"),
    });
    await until("the refused device to go", () => findLoopDevice(fileKeyOf(image.fd)) === undefined);
  });

  test("a device that is kept stays when it is closed, until it is detached", async () => {
    const image = openImage();
    const device = await openDevice(image);
    await keepLoopDevice(directSteps, device);
    closeDevice();
    expect(losetupRow(image.path)).toMatchObject({ name: device.path, autoclear: false });
    expect(findLoopDevice(fileKeyOf(image.fd))).toEqual({ ...device, autoclear: false });
    await detachLoopDevice(directSteps, device);
    expect(losetupRow(image.path)).toBeUndefined();
  });

  test("the same name for another image has another diskseq, and a stale device is left alone", async () => {
    const [one, other] = [openImage(), makeImage()];
    const first = await openDevice(one);
    closeDevice();
    // Whoever asks the kernel for a free device may get this one first.
    const take = () => Bun.spawnSync(["losetup", first.path, other], { stderr: "ignore" }).success;
    await until("the same device", take);
    const second = listLoopDevices().find((device) => device.path === first.path);
    expect(second?.diskseq).not.toBe(first.diskseq);
    await detachLoopDevice(directSteps, first);
    expect(losetupRow(other)?.name).toBe(first.path);
  });

  test("an image is known by its inode: when it is renamed, and not by its name when it is replaced", async () => {
    const image = openImage();
    const device = await openDevice(image);
    run("mv", image.path, `${image.path}-renamed`);
    expect(findLoopDevice(fileKeyOf(image.fd))?.path).toBe(device.path);
    writeFileSync(image.path, "another image");
    const other = openImage(image.path);
    expect(findLoopDevice(fileKeyOf(other.fd))).toBeUndefined();
  });

  test("two devices on one image are DAMAGED and both are named", async () => {
    const image = openImage();
    const devices = [1, 2].map(() => run("losetup", "--find", "--show", image.path).trim());
    expect(() => findLoopDevice(fileKeyOf(image.fd))).toThrow(
      expect.objectContaining({ code: "DAMAGED", details: { devices: expect.arrayContaining(devices) } }),
    );
  });

  test("the sector size is 512 for every image, also for one that shares its blocks", async () => {
    const image = openImage();
    const copy = join(bed.location, `copy-${images}`);
    run("cp", `--reflink=${bed.row.filesystem === "xfs" ? "always" : "auto"}`, image.path, copy);
    for (const one of [image, openImage(copy)]) {
      const device = await openDevice(one);
      const queue = `/sys/block/${device.path.slice("/dev/".length)}/queue/logical_block_size`;
      expect(readFileSync(queue, "utf8")).toBe("512\n");
    }
  });

  test("many at once get each a device of their own", async () => {
    const all = Array.from({ length: 20 }, () => openImage());
    const devices = await Promise.all(all.map((image) => openDevice(image)));
    expect(new Set(devices.map((device) => device.path)).size).toBe(all.length);
    expect(devices.map((device) => device.file)).toEqual(all.map((image) => fileKeyOf(image.fd)));
  });

  test("several processes that want devices at the same time get each their own", async () => {
    const code = `
      const { openSync, writeFileSync } = await import("node:fs");
      const { openLoopDevice } = await import("${SOURCE}/loop.ts");
      const { directSteps } = await import("${SOURCE}/steps.ts");
      for (let round = 0; round < 40; round++) {
        const path = process.argv[1] + "-" + round;
        writeFileSync(path, Buffer.alloc(4096));
        const opened = await openLoopDevice(directSteps, path, openSync(path, "r+"), false);
        opened.close();
      }`;
    const children = Array.from({ length: 4 }, (_, index) =>
      Bun.spawn([process.execPath, "-e", code, join(bed.location, `contended-${index}`)], { stderr: "pipe" }),
    );
    const ends = children.map(async (child) => [await child.exited, await child.stderr.text()]);
    expect(await Promise.all(ends)).toEqual(children.map(() => [0, ""]));
  });

  test("a plan makes nothing", async () => {
    const image = openImage();
    const log: string[] = [];
    const planned = await openLoopDevice(
      plannedSteps((text) => log.push(text)),
      image.path,
      image.fd,
      true,
    );
    await detachLoopDevice(
      plannedSteps((text) => log.push(text)),
      planned.device,
    );
    expect(log).toEqual([`losetup --find --show --read-only ${image.path}`, "losetup -d /dev/loopN"]);
    expect(findLoopDevice(fileKeyOf(image.fd))).toBeUndefined();
  });
}
