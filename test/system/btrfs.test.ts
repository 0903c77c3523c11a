import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  BTRFS_MAGIC,
  createSubvolume,
  deleteSubvolume,
  isReadOnlySubvolume,
  isSubvolume,
  listNestedSubvolumes,
  parseListedPath,
  setReadOnlySubvolume,
  snapshotSubvolume,
} from "../../src/system/btrfs.ts";
import { closeFd, openDirectory } from "../../src/system/files.ts";
import { canShareBlocks } from "../../src/system/reflink.ts";
import { directSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

describe("a line of btrfs subvolume list, recorded", () => {
  test.each([
    ["ID 256 gen 8 top level 5 path web", "web"],
    ["ID 2570 gen 80123 top level 256 path web/inner dir", "web/inner dir"],
    ["ID 257 gen 8 top level 256 path a/ b  c", "a/ b  c"],
    ["ID 257 gen 8 top level 256 path path path", "path path"],
    ["ID 261 gen 12 top level 5 path caf\u00e9", "caf\u00e9"],
  ])("%j", (line, path) => {
    expect(parseListedPath(line)).toBe(path);
  });

  test.each([
    "",
    "ID 256 gen 8 top level 5 path ",
    "ID 256 gen 8 cgen 8 top level 5 path web",
    "ID 256 gen 8 parent 5 top level 5 path web",
    "ID x gen 8 top level 5 path web",
    " ID 256 gen 8 top level 5 path web",
    "ERROR: not a btrfs filesystem",
    "the second line of a name",
  ])("is no path when it has another shape: %j", (line) => {
    expect(parseListedPath(line)).toBeUndefined();
  });
});

describeOnBed(
  { name: "btrfs subvolumes", backend: "btrfs", filesystem: "btrfs" },
  testSubvolumes,
  256 * 1024 ** 2,
);

function testSubvolumes(bed: Bed): void {
  const at = (name: string) => join(bed.location, name);

  async function withLock(action: (fd: number) => Promise<void>): Promise<void> {
    const fd = openDirectory(bed.location);
    try {
      await action(fd);
    } finally {
      closeFd(fd);
    }
  }

  test("are made, snapshot, and deleted for good", () =>
    withLock(async (fd) => {
      await createSubvolume(directSteps, at("web"), fd);
      expect(isSubvolume(at("web"))).toBe(true);
      writeFileSync(at("web/file"), "content");
      await snapshotSubvolume(directSteps, at("web"), at("copy"), fd);
      expect(readdirSync(at("copy"))).toEqual(["file"]);
      await expect(snapshotSubvolume(directSteps, at("none"), at("copy2"), fd)).rejects.toMatchObject({
        code: "TOOL_FAILED",
      });
      for (const name of ["web", "copy"]) await deleteSubvolume(directSteps, at(name), fd);
      expect(readdirSync(bed.location)).toEqual([]);
      expect(run("btrfs", "subvolume", "list", bed.location)).toBe("");
    }));

  test("are told from directories", () =>
    withLock(async (fd) => {
      mkdirSync(at("directory"));
      writeFileSync(at("file"), "");
      expect(["directory", "file", "none"].map((name) => isSubvolume(at(name)))).toEqual([
        false,
        false,
        false,
      ]);
      await expect(deleteSubvolume(directSteps, at("directory"), fd)).rejects.toMatchObject({
        code: "TOOL_FAILED",
      });
      expect(existsSync(at("directory"))).toBe(true);
    }));

  test("that are read-only can be made writable and back, also where they were received", () =>
    withLock(async (fd) => {
      await createSubvolume(directSteps, at("ro"), fd);
      expect(isReadOnlySubvolume(at("ro"))).toBe(false);
      await setReadOnlySubvolume(directSteps, at("ro"), true);
      expect(isReadOnlySubvolume(at("ro"))).toBe(true);
      const [stream, received] = [join(bed.directory, "stream"), at("received")];
      run("btrfs", "-q", "send", "-f", stream, at("ro"));
      mkdirSync(received);
      run("btrfs", "-q", "receive", "-f", stream, received);
      await setReadOnlySubvolume(directSteps, join(received, "ro"), false);
      writeFileSync(join(received, "ro/file"), "");
    }));

  test("inside another are listed by their absolute paths, and only those directly inside", () =>
    withLock(async (fd) => {
      await createSubvolume(directSteps, at("outer"), fd);
      mkdirSync(at("outer/dir"));
      for (const name of ["outer/b", "outer/dir/a b", "outer/b/deeper", "outer2"])
        await createSubvolume(directSteps, at(name), fd);
      expect(await listNestedSubvolumes(directSteps, at("outer"))).toEqual([
        at("outer/b"),
        at("outer/dir/a b"),
      ]);
      expect(await listNestedSubvolumes(directSteps, at("outer/b"))).toEqual([at("outer/b/deeper")]);
      expect(await listNestedSubvolumes(directSteps, at("outer2"))).toEqual([]);
    }));

  test("inside another are found also through a mount of a subvolume", async () => {
    const target = bed.makeMountPoint();
    const source = run("findmnt", "-n", "-v", "-o", "SOURCE", bed.location).trim();
    run("mount", "-t", "btrfs", "-o", "subvol=outer", source, target);
    expect(await listNestedSubvolumes(directSteps, join(target, "b"))).toEqual([join(target, "b/deeper")]);
    expect(await listNestedSubvolumes(directSteps, target)).toEqual([
      join(target, "b"),
      join(target, "dir/a b"),
    ]);
    run("umount", target);
  });

  test("inside another are listed whatever their names are", () =>
    withLock(async (fd) => {
      await createSubvolume(directSteps, at("strange"), fd);
      const names = ["a\nb", "x\nID 256 gen 8 top level 5 path y", " blank ", "caf\u00e9"];
      for (const name of names) await createSubvolume(directSteps, at(`strange/${name}`), fd);
      const nested = await listNestedSubvolumes(directSteps, at("strange"));
      expect(nested.sort()).toEqual(names.map((name) => at(`strange/${name}`)).sort());
    }));

  test("are on a filesystem whose files can share blocks", () => {
    expect(statfsSync(bed.location).type >>> 0).toBe(BTRFS_MAGIC);
    const fd = openDirectory(bed.location);
    expect(canShareBlocks(fd, BTRFS_MAGIC)).toBe(true);
    closeFd(fd);
  });
}

for (const [reflink, filesystem] of [
  [true, "xfs"],
  [false, "ext4"],
] as const) {
  describeOnBed({ name: `files on ${filesystem}`, backend: "loop", filesystem }, (bed) => {
    test(`share blocks: ${reflink}, as cp says`, () => {
      const fd = openDirectory(bed.location);
      expect(canShareBlocks(fd, statfsSync(bed.location).type >>> 0)).toBe(reflink);
      closeFd(fd);
      writeFileSync(join(bed.location, "a"), "x".repeat(100_000));
      const cp = ["cp", "--reflink=always", join(bed.location, "a"), join(bed.location, "b")];
      expect(Bun.spawnSync(cp, { timeout: 20_000, stderr: "ignore" }).success).toBe(reflink);
    });
  });
}
