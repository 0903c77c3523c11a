import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  FILESYSTEM_NAMES,
  type FilesystemName,
  filesystemOf,
  isFilesystemName,
} from "../../src/filesystems/registry.ts";
import { probeFilesystem } from "../../src/system/blkid.ts";
import { directSteps, loggedSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

const MB = 1024 ** 2;

/** A size at which the tool refuses, or leaves out the journal: the smallest volume is larger. */
const TOO_SMALL: Record<FilesystemName, number> = {
  ext4: 2 * MB - 4096,
  xfs: 300 * MB - 4096,
  btrfs: 108 * MB,
};

/** Published numbers: a volume of this size can be made, and a smaller one cannot. */
const MINIMUM: Record<FilesystemName, number> = { ext4: 8 * MB, xfs: 300 * MB, btrfs: 128 * MB };

const CHECK: Record<FilesystemName, readonly string[]> = {
  ext4: ["e2fsck", "-f", "-n"],
  xfs: ["xfs_repair", "-n"],
  btrfs: ["btrfs", "check", "--readonly"],
};

test("the names are those that a config may say, the usual one first", () => {
  expect(FILESYSTEM_NAMES).toEqual(["ext4", "xfs", "btrfs"]);
  for (const name of FILESYSTEM_NAMES) {
    expect(filesystemOf(name)).toMatchObject({ name, minimumBytes: MINIMUM[name] });
  }
  const others = ["", "zfs", "EXT4", "ext4 ", "__proto__", "constructor", "toString"];
  expect(others.filter(isFilesystemName)).toEqual([]);
});

describeOnBed({ name: "making filesystems", backend: "loop", filesystem: "ext4" }, testMaking);

function testMaking(bed: Bed): void {
  let lockFd = -1;
  let count = 0;
  beforeEach(() => {
    lockFd = openSync(bed.directory, "r");
  });
  afterEach(() => closeSync(lockFd));

  function makeImage(sizeBytes: number): string {
    const path = join(bed.location, `image-${count++}`);
    run("truncate", "-s", String(sizeBytes), path);
    return path;
  }

  const make = (name: FilesystemName, path: string) => filesystemOf(name).make(directSteps, path, lockFd);

  describe.each(FILESYSTEM_NAMES)("%s", (name) => {
    const { minimumBytes } = filesystemOf(name);

    test("is made on a file of the smallest size, mounts, takes data and is clean", async () => {
      const path = makeImage(minimumBytes);
      await make(name, path);
      expect((await probeFilesystem(directSteps, path))?.type).toBe(name);
      const mountPoint = bed.makeMountPoint();
      run("mount", "-o", "loop", path, mountPoint);
      writeFileSync(join(mountPoint, "file"), Buffer.alloc(MB, 7));
      run("umount", mountPoint);
      run("mount", "-o", "loop,ro", path, mountPoint);
      expect(readFileSync(join(mountPoint, "file"))).toEqual(Buffer.alloc(MB, 7));
      run("umount", mountPoint);
      run(...CHECK[name], path);
    });

    test("is made sparse and without a word", async () => {
      const path = makeImage(1024 ** 3);
      const log: string[] = [];
      await filesystemOf(name).make(
        loggedSteps(directSteps, (text) => log.push(text)),
        path,
        lockFd,
      );
      expect(log).toHaveLength(1);
      expect(log[0]).toStartWith(`mkfs.${name} -q `);
      expect(log[0]).not.toMatch(/ (-f|-F|--force)\b/);
      expect(statSync(path).size).toBe(1024 ** 3);
      expect(statSync(path).blocks * 512).toBeLessThan(128 * MB);
    });

    test("of the same size has another UUID each time", async () => {
      const paths = [makeImage(minimumBytes), makeImage(minimumBytes)];
      for (const path of paths) await make(name, path);
      const [one, other] = await Promise.all(paths.map((path) => probeFilesystem(directSteps, path)));
      expect(one?.uuid).not.toBe(other?.uuid as string);
    });

    test("is not made in a plan", async () => {
      const path = makeImage(minimumBytes);
      await filesystemOf(name).make(
        plannedSteps(() => {}),
        path,
        lockFd,
      );
      expect(statSync(path).blocks).toBe(0);
    });
  });

  test.each(["xfs", "btrfs"] as const)("%s is refused by its own tool on a smaller file", async (name) => {
    expect(TOO_SMALL[name]).toBeLessThan(filesystemOf(name).minimumBytes);
    await expect(make(name, makeImage(TOO_SMALL[name]))).rejects.toMatchObject({ code: "TOOL_FAILED" });
  });

  test("ext4 has a journal at its smallest size, and none on a much smaller file", async () => {
    const features = (path: string) => run("dumpe2fs", "-h", path);
    const [small, smallest] = [TOO_SMALL.ext4, filesystemOf("ext4").minimumBytes].map(makeImage) as [
      string,
      string,
    ];
    for (const path of [small, smallest]) await make("ext4", path);
    expect(features(small)).not.toContain("has_journal");
    expect(features(smallest)).toContain("has_journal");
    for (const feature of ["metadata_csum", "metadata_csum_seed"])
      expect(features(smallest)).toContain(feature);
  });

  test("xfs and btrfs do not overwrite a filesystem", async () => {
    for (const name of ["xfs", "btrfs"] as const) {
      const path = makeImage(filesystemOf(name).minimumBytes);
      await make("ext4", path);
      const before = await probeFilesystem(directSteps, path);
      await expect(make(name, path)).rejects.toMatchObject({ code: "TOOL_FAILED" });
      expect(await probeFilesystem(directSteps, path)).toEqual(before);
    }
  });

  test("a filesystem on a full disk is NO_SPACE", async () => {
    const small = bed.makeMountPoint();
    run("mount", "-t", "tmpfs", "-o", "size=1M", "none", small);
    const path = join(small, "image");
    run("truncate", "-s", String(filesystemOf("xfs").minimumBytes), path);
    await expect(make("xfs", path)).rejects.toMatchObject({ code: "NO_SPACE" });
    run("umount", small);
  });
}
