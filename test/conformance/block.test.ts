import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { type Holder, openMosaic } from "../../src/index.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { isAutoclear, listBedDevices, whileAttached } from "../support/devices.ts";
import { expectError, until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { mountsBelow } from "../support/snapshot.ts";

// What attach and detach must do where volumes are block devices, and that both are absent elsewhere.

const SIZE = 16 * 1024 ** 2;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    if (row.features.includes("bdev")) expectDevices(bed);
    else expectNoDevices(bed);
  });
}

function expectNoDevices(bed: Bed): void {
  test("devices are absent: no feature, UNSUPPORTED", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "fs" });
    expect(mosaic.info().features).not.toContain("bdev");
    await expectError("UNSUPPORTED", () => mosaic.attachVolume("web"));
    await expectError("UNSUPPORTED", () => mosaic.attachVolume("web", { export: "nbd" }));
    await expectError("UNSUPPORTED", () => mosaic.detachVolume("web"));
  });
}

function expectDevices(bed: Bed): void {
  test("a disk is attached once, written, detached, and keeps its data", async () => {
    await using mosaic = await openMosaic(bed.config);
    const made = await mosaic.createVolume("vm1", { kind: "disk", sizeBytes: SIZE });
    expect(made.filesystem).toBeNull();
    const device = await mosaic.attachVolume("vm1");
    expect(run("blockdev", "--getsize64", device).trim()).toBe(String(SIZE));
    expect(run("blockdev", "--getss", device).trim()).toBe("512");
    expect((await expectError("BUSY", () => mosaic.attachVolume("vm1"))).message).toContain(device);
    expect(mosaic.listVolumes()).toEqual([{ ...made, parent: null, attachedAs: device, mountedAt: [] }]);
    writeDevice(device, "boot sector");
    await mosaic.detachVolume("vm1");
    expect(listBedDevices(bed)).toEqual([]);
    const again = await mosaic.attachVolume("vm1");
    expect(readFileSync(again).toString("utf8", 0, 11)).toBe("boot sector");
    await mosaic.detachVolume("vm1");
    const fixed = await mosaic.attachVolume("vm1", { readOnly: true });
    expect(run("blockdev", "--getro", fixed).trim()).toBe("1");
    expect(readFileSync(fixed).toString("utf8", 0, 11)).toBe("boot sector");
    await mosaic.detachVolume("vm1");
    expect((await expectError("NOT_FOUND", () => mosaic.detachVolume("vm1"))).details).toMatchObject({
      reason: "not-attached",
    });
  });

  if (bed.isPool)
    test("a socket is absent: UNSUPPORTED, and what to do instead", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("vm1", { kind: "disk", sizeBytes: SIZE });
      const error = await expectError("UNSUPPORTED", () => mosaic.attachVolume("vm1", { export: "nbd" }));
      expect(error.message).toContain("attach it as a device, and give that to qemu or qemu-nbd");
      expect(listBedDevices(bed)).toEqual([]);
    });

  test("a disk is no filesystem: it is not mounted, and nothing stays attached", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("vm1", { kind: "disk", sizeBytes: SIZE });
    await expectError("INVALID_ARGUMENT", () => mosaic.mountVolume("vm1", mountPoint));
    await until("the device to go", () => listBedDevices(bed).length === 0);
    expect(mountsBelow(bed.directory)).toEqual(bed.ownMounts);
  });

  test("a mount that fails leaves nothing attached", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
    await whileAttached(mosaic, "web", (device) =>
      run("dd", "if=/dev/zero", `of=${device}`, "bs=1M", "count=1", "conv=fsync", "status=none"),
    );
    expect((await expectError("DAMAGED", () => mosaic.mountVolume("web", mountPoint))).message).toContain(
      "ext4",
    );
    await until("the device to go", () => listBedDevices(bed).length === 0);
    expect(mountsBelow(bed.directory)).toEqual(bed.ownMounts);
  });

  test("a mounted or open device is not detached, and its holder is named", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
    const device = await mosaic.attachVolume("web");
    await mosaic.mountVolume("web", mountPoint);
    const mounted = (await expectError("BUSY", () => mosaic.detachVolume("web"))).details.holders as Holder[];
    expect(mounted).toContainEqual(expect.objectContaining({ kind: "mount", path: mountPoint }) as Holder);
    await mosaic.unmountVolume("web", mountPoint);
    const reader = Bun.spawn(["sleep", "1000"], { stdin: Bun.file(device) });
    try {
      const opened = (await expectError("BUSY", () => mosaic.detachVolume("web"))).details
        .holders as Holder[];
      expect(opened).toContainEqual(expect.objectContaining({ kind: "process", pid: reader.pid }) as Holder);
    } finally {
      reader.kill("SIGKILL");
      await reader.exited;
    }
    expect(isAutoclear(bed, device)).toBe(false);
    await expectError("BUSY", () => mosaic.dropVolume("web"));
    await mosaic.detachVolume("web");
    await mosaic.dropVolume("web");
  });

  test("a device made for a mount goes with it; attached meanwhile it stays; attached before it is shared", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
    await mosaic.mountVolume("web", mountPoint);
    expect(mosaic.listVolumes()[0]?.attachedAs).toBeNull();
    await expectError("NOT_FOUND", () => mosaic.detachVolume("web"));
    await mosaic.unmountVolume("web", mountPoint);
    expect(listBedDevices(bed)).toEqual([]);
    await mosaic.mountVolume("web", mountPoint);
    const device = await mosaic.attachVolume("web");
    await mosaic.unmountVolume("web", mountPoint);
    expect(isAutoclear(bed, device)).toBe(false);
    await mosaic.mountVolume("web", mountPoint);
    expect(run("findmnt", "-n", "-o", "SOURCE", mountPoint).trim()).toBe(device);
    await mosaic.unmountVolume("web", mountPoint);
    expect(mosaic.listVolumes()[0]?.attachedAs).toBe(device);
    await mosaic.detachVolume("web");
  });

  test("a device goes with the mount of a namespace that was killed", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
    await mosaic.mountVolume("web", mountPoint);
    const holder = Bun.spawn(["unshare", "-m", "--propagation", "private", "sleep", "1000"]);
    try {
      await until(
        "the namespace",
        () => run("readlink", `/proc/${holder.pid}/ns/mnt`) !== run("readlink", "/proc/self/ns/mnt"),
      );
      await mosaic.unmountVolume("web", mountPoint);
      const holders = (await expectError("BUSY", () => mosaic.dropVolume("web"))).details.holders as Holder[];
      expect(holders).toContainEqual(
        expect.objectContaining({ kind: "mount", path: mountPoint, pid: holder.pid }) as Holder,
      );
      expect(listBedDevices(bed)).toHaveLength(1);
    } finally {
      holder.kill("SIGKILL");
      await holder.exited;
    }
    await until("the device to go", () => listBedDevices(bed).length === 0);
    await mosaic.dropVolume("web");
  });

  test("a read-only mount writes nothing to the image", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
    const sum = () => whileAttached(mosaic, "web", (path) => run("sha256sum", path).split(" ")[0]);
    const before = await sum();
    await mosaic.mountVolume("web", mountPoint, { readOnly: true });
    expect(
      readFileSync(
        `/sys/block/${basename(run("findmnt", "-n", "-o", "SOURCE", mountPoint).trim())}/ro`,
        "utf8",
      ),
    ).toBe("1\n");
    await expectError("BUSY", () => mosaic.attachVolume("web"));
    await mosaic.unmountVolume("web", mountPoint);
    expect(await sum()).toBe(before);
  });
}

function writeDevice(device: string, text: string): void {
  const fd = openSync(device, "r+");
  writeSync(fd, text);
  closeSync(fd);
  run("sync", device);
}
