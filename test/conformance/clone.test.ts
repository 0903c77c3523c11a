import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FILESYSTEM_NAMES, type FilesystemName } from "../../src/filesystems/registry.ts";
import { openMosaic } from "../../src/index.ts";
import { probeFilesystem } from "../../src/system/blkid.ts";
import { directSteps } from "../../src/system/steps.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { listBedDevices } from "../support/devices.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { rawImageOf } from "../support/rawimage.ts";
import { snapshotTree } from "../support/snapshot.ts";

// What clone must do where the backend has it, and that it is absent elsewhere.

const SIZES: Record<FilesystemName, number> = {
  ext4: 32 * 1024 ** 2,
  xfs: 300 * 1024 ** 2,
  btrfs: 128 * 1024 ** 2,
};
const CHECKERS: Record<FilesystemName, string[]> = {
  ext4: ["e2fsck", "-f", "-n"],
  xfs: ["xfs_repair", "-n", "-f"],
  btrfs: ["btrfs", "check", "--readonly"],
};

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    const hasClone = row.features.includes("clone");
    if (hasClone) expectClone(bed);
    else expectNoClone(bed);
    if (hasClone && row.features.includes("bdev")) {
      for (const filesystem of FILESYSTEM_NAMES) expectDistinctClones(bed, filesystem);
    }
    if (row.backend === "btrfs") expectSubvolumeRules(bed);
  });
}

function expectNoClone(bed: Bed): void {
  test("clone is absent: no feature, UNSUPPORTED, nothing made", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("old", { kind: "fs", sizeBytes: SIZES.ext4 });
    expect(mosaic.info().features).not.toContain("clone");
    const before = snapshotTree(bed.location);
    await expectError("UNSUPPORTED", () => mosaic.cloneVolume("old", "new"));
    expect(snapshotTree(bed.location)).toEqual(before);
  });
}

function expectClone(bed: Bed): void {
  test("a clone has the content, and both go their own ways", async () => {
    await using mosaic = await openMosaic(bed.config);
    const [first, second] = [bed.makeMountPoint(), bed.makeMountPoint()];
    const old = await mosaic.createVolume("old", { kind: "fs", sizeBytes: SIZES.ext4 });
    await mosaic.mountVolume("old", first);
    writeFileSync(join(first, "data"), "shared");
    await mosaic.unmountVolume("old", first);
    const made = await mosaic.cloneVolume("old", "group/new");
    expect(made).toMatchObject({ name: "group/new", parentId: old.id, sizeBytes: SIZES.ext4, kind: "fs" });
    expect(made.id).not.toBe(old.id);
    expect(await mosaic.getVolume("group/new")).toEqual(made);
    expect(await mosaic.getVolume("old")).toEqual(old);
    await mosaic.mountVolume("old", first);
    await mosaic.mountVolume("group/new", second);
    expect(readFileSync(join(second, "data"), "utf8")).toBe("shared");
    writeFileSync(join(second, "data"), "mine");
    writeFileSync(join(first, "other"), "yours");
    expect(readFileSync(join(first, "data"), "utf8")).toBe("shared");
    expect(existsSync(join(second, "other"))).toBe(false);
    await mosaic.unmountVolume("old", first);
    await mosaic.dropVolume("old");
    expect(readFileSync(join(second, "data"), "utf8")).toBe("mine");
    expect(mosaic.listVolumes()[0]).toMatchObject({ name: "group/new", parent: null, parentId: old.id });
    await mosaic.unmountVolume("group/new", second);
    await mosaic.dropVolume("group/new");
    expect(readdirSync(bed.location)).toEqual([]);
  });

  test("a clone never replaces, and a race for a name has one winner", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("old", { kind: "fs", sizeBytes: SIZES.ext4 });
    await mosaic.createVolume("new", { kind: "fs", sizeBytes: SIZES.ext4 });
    const before = snapshotTree(bed.location);
    await expectError("ALREADY_EXISTS", () => mosaic.cloneVolume("old", "new"));
    await expectError("ALREADY_EXISTS", () => mosaic.cloneVolume("old", "old"));
    await expectError("NOT_FOUND", () => mosaic.cloneVolume("missing", "other"));
    expect(snapshotTree(bed.location)).toEqual(before);
    const races = await Promise.allSettled([
      mosaic.cloneVolume("old", "won"),
      mosaic.cloneVolume("new", "won"),
    ]);
    expect(races.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(mosaic.listVolumes().map(({ name }) => String(name))).toEqual(["new", "old", "won"]);
  });
}

function expectDistinctClones(bed: Bed, filesystem: FilesystemName): void {
  test(`a clone of ${filesystem} under a writer is whole, and mounts beside its origin with its own UUID`, async () => {
    await using mosaic = await openMosaic(bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]));
    const [first, second] = [bed.makeMountPoint(), bed.makeMountPoint()];
    await mosaic.createVolume("old", { kind: "fs", sizeBytes: SIZES[filesystem] });
    await mosaic.mountVolume("old", first);
    run("mkdir", join(first, "busy"));
    writeFileSync(join(first, "synced"), "before the clone");
    const script =
      'i=0; while [ ! -e "$1/stop" ]; do i=$((i+1)); echo $i > "$1/$((i % 50))"; rm -f "$1/$(((i + 7) % 50))"; done';
    const writer = Bun.spawn(["sh", "-c", script, "sh", join(first, "busy")], { stderr: "ignore" });
    try {
      for (const name of ["one", "two"]) {
        await mosaic.cloneVolume("old", name);
        const uuids = [await probeFilesystem(directSteps, readPath(bed, "old", first))];
        const image = bed.isPool ? await mosaic.attachVolume(name) : rawImageOf(bed, name);
        run(
          ...CHECKERS[filesystem].filter((word) => !(bed.isPool && filesystem === "xfs" && word === "-f")),
          image,
        );
        uuids.push(await probeFilesystem(directSteps, image));
        if (bed.isPool) await mosaic.detachVolume(name);
        expect(uuids.map((probe) => probe?.type)).toEqual([filesystem, filesystem]);
        expect(uuids[0]?.uuid).not.toBe(uuids[1]?.uuid);
        await mosaic.mountVolume(name, second);
        expect(readFileSync(join(second, "synced"), "utf8")).toBe("before the clone");
        await mosaic.unmountVolume(name, second);
      }
    } finally {
      // Killed, it would leave a child that is still at work in the filesystem.
      writeFileSync(join(first, "busy/stop"), "");
      await writer.exited;
    }
    writeFileSync(join(first, "thawed"), "writable");
    await mosaic.unmountVolume("old", first);
    expect(listBedDevices(bed)).toEqual([]);
  });

  // An image is copied here behind mosaic's back, with a log; of a pool it would be the same code on a device.
  if (bed.isPool) return;
  test(`a clone of ${filesystem} with a log to replay has its own UUID and lost nothing`, async () => {
    await using mosaic = await openMosaic(bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]));
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("old", { kind: "fs", sizeBytes: SIZES[filesystem] });
    await mosaic.mountVolume("old", mountPoint);
    writeFileSync(join(mountPoint, "synced"), "in the log");
    run("sync", join(mountPoint, "synced"));
    // What a power cut now would leave: a copy without a freeze, in the place of the origin, with its record.
    run("cp", "--recursive", "--reflink=always", join(bed.location, "old"), join(bed.location, "cut"));
    const record = run(
      "getfattr",
      "--absolute-names",
      "--only-values",
      "-n",
      "trusted.mosaic.volume",
      join(bed.location, "old"),
    );
    await mosaic.unmountVolume("old", mountPoint);
    run("rm", "-r", join(bed.location, "old"));
    run("mv", join(bed.location, "cut"), join(bed.location, "old"));
    run("setfattr", "-n", "trusted.mosaic.volume", "-v", record, join(bed.location, "old"));
    const before = await probeFilesystem(directSteps, rawImageOf(bed, "old"));
    await mosaic.cloneVolume("old", "new");
    expect((await probeFilesystem(directSteps, rawImageOf(bed, "new")))?.uuid).not.toBe(before?.uuid);
    run(...(CHECKERS[filesystem] as [string, ...string[]]), rawImageOf(bed, "new"));
    await mosaic.mountVolume("new", mountPoint);
    expect(readFileSync(join(mountPoint, "synced"), "utf8")).toBe("in the log");
    await mosaic.unmountVolume("new", mountPoint);
  });
}

function expectSubvolumeRules(bed: Bed): void {
  test("nested subvolumes: clone names them, drop removes them", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("old", { kind: "fs" });
    for (const path of ["old/outer", "old/outer/inner", "old/with blank"])
      run("btrfs", "-q", "subvolume", "create", join(bed.location, path));
    const error = await expectError("UNSUPPORTED", () => mosaic.cloneVolume("old", "new"));
    expect(error.details.nested).toEqual([
      join(bed.location, "old/outer"),
      join(bed.location, "old/with blank"),
    ]);
    expect(Object.keys(snapshotTree(bed.location))).not.toContain("new");
    await mosaic.dropVolume("old");
    expect(readdirSync(bed.location)).toEqual([]);
    expect(run("btrfs", "subvolume", "list", bed.location)).toBe("");
  });

  test("a read-only subvolume is dropped, and stays read-only when that is refused", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("old", { kind: "fs" });
    const path = join(bed.location, "old");
    run("btrfs", "property", "set", "-t", "subvol", path, "ro", "true");
    await mosaic.mountVolume("old", mountPoint, { readOnly: true });
    await expectError("BUSY", () => mosaic.dropVolume("old"));
    expect(run("btrfs", "property", "get", "-t", "subvol", path, "ro")).toBe("ro=true\n");
    await mosaic.unmountVolume("old", mountPoint);
    await mosaic.dropVolume("old");
    expect(readdirSync(bed.location)).toEqual([]);
  });
}

/** What a mounted volume can be read from: its image or its device. */
function readPath(bed: Bed, name: string, mountPoint: string): string {
  if (!bed.isPool) return rawImageOf(bed, name);
  return run("findmnt", "-n", "-o", "SOURCE", mountPoint).trim();
}
