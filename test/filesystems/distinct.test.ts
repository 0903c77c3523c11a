import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  FILESYSTEM_NAMES,
  type FilesystemName,
  filesystemOf,
  makeDistinct,
} from "../../src/filesystems/registry.ts";
import { probeFilesystem } from "../../src/system/blkid.ts";
import { directSteps, loggedSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { loopImagesBelow } from "../support/snapshot.ts";

const CHECK: Record<FilesystemName, readonly string[]> = {
  ext4: ["e2fsck", "-f", "-n"],
  xfs: ["xfs_repair", "-n"],
  btrfs: ["btrfs", "check", "--readonly"],
};

/** What shows a log that must be replayed. */
const DIRTY: Record<FilesystemName, readonly [argv: readonly string[], sign: RegExp]> = {
  ext4: [["dumpe2fs", "-h"], /needs_recovery/],
  xfs: [["xfs_logprint", "-t"], /state: <DIRTY>/],
  btrfs: [["btrfs", "inspect-internal", "dump-super"], /^log_root\s+[1-9]/m],
};

/** How many blocks of 4 KiB a clean copy may have of its own: xfs_db writes a new log, the others one block. */
const OWN_BLOCKS: Record<FilesystemName, number> = { ext4: 64, xfs: 16_400, btrfs: 64 };

describeOnBed({ name: "distinct copies", backend: "loop", filesystem: "xfs" }, testCopies);

function testCopies(bed: Bed): void {
  let lockFd = -1;
  let count = 0;
  beforeEach(() => {
    lockFd = openSync(bed.directory, "r");
  });
  afterEach(() => closeSync(lockFd));

  async function makeImage(name: FilesystemName): Promise<string> {
    const path = join(bed.location, `image-${count++}`);
    run("truncate", "-s", String(filesystemOf(name).minimumBytes), path);
    await filesystemOf(name).make(directSteps, path, lockFd);
    return path;
  }

  function copyOf(path: string): string {
    run("cp", "--reflink=always", path, `${path}-copy`);
    return `${path}-copy`;
  }

  function mount(path: string, ...options: string[]): string {
    const mountPoint = bed.makeMountPoint();
    run("mount", "-o", ["loop", ...options].join(), path, mountPoint);
    return mountPoint;
  }

  /** Writes a file that a power cut right after must not lose, and leaves a log to be replayed. */
  function writeDurably(mountPoint: string, content: string): void {
    run("sync", "-f", mountPoint);
    writeFileSync(join(mountPoint, "file"), content);
    run("sync", join(mountPoint, "file"));
  }

  function expectFile(path: string, content: string): void {
    const mountPoint = mount(path);
    expect(readFileSync(join(mountPoint, "file"), "utf8")).toBe(content);
    run("umount", mountPoint);
  }

  async function expectDistinct(name: FilesystemName, origin: string, copy: string): Promise<void> {
    const [one, other] = [
      await probeFilesystem(directSteps, origin),
      await probeFilesystem(directSteps, copy),
    ];
    expect([one?.type, other?.type]).toEqual([name, name]);
    expect(other?.uuid).not.toBe(one?.uuid as string);
    expect(loopImagesBelow(bed.location)).not.toContain(copy);
    run(...CHECK[name], copy);
  }

  describe.each(FILESYSTEM_NAMES)("%s", (name) => {
    const distinct = (path: string) => makeDistinct(directSteps, name, path, lockFd);

    test("a clean copy gets a new UUID, stays clean, and mounts beside its origin", async () => {
      const origin = await makeImage(name);
      const mountPoint = mount(origin);
      writeDurably(mountPoint, "content");
      run("umount", mountPoint);
      const uuid = (await probeFilesystem(directSteps, origin))?.uuid;
      const copy = copyOf(origin);
      await distinct(copy);
      await expectDistinct(name, origin, copy);
      expect((await probeFilesystem(directSteps, origin))?.uuid).toBe(uuid as string);
      const beside = mount(origin);
      expectFile(copy, "content");
      run("umount", beside);
    });

    test("a clean copy needs no replay, and costs few blocks of its own", async () => {
      const origin = await makeImage(name);
      const copy = copyOf(origin);
      const log: string[] = [];
      await makeDistinct(
        loggedSteps(directSteps, (text) => log.push(text)),
        name,
        copy,
        lockFd,
      );
      expect(log.join("\n")).not.toMatch(/^(mount|e2fsck|losetup) /m);
      const own = run("filefrag", "-v", copy)
        .split("\n")
        .filter((line) => /^\s*\d+:/.test(line) && !line.includes("shared"));
      const blocks = own.map((line) => Number(line.split(":")[3]?.replaceAll(/\D/g, "")));
      expect(blocks.reduce((sum, length) => sum + length, 0)).toBeLessThan(OWN_BLOCKS[name]);
    });

    test("a copy of what a power cut left has its log replayed, and nothing is lost", async () => {
      const origin = await makeImage(name);
      const mountPoint = mount(origin);
      writeDurably(mountPoint, "just written");
      const copy = copyOf(origin);
      run("umount", mountPoint);
      const [argv, sign] = DIRTY[name];
      expect(run(...argv, copy)).toMatch(sign);
      const log: string[] = [];
      await makeDistinct(
        loggedSteps(directSteps, (text) => log.push(text)),
        name,
        copy,
        lockFd,
      );
      // No repair that throws something away: what a log holds is what the user was promised.
      expect(log.join("\n")).not.toMatch(/xfs_repair|zero-log| -L\b| -y\b|--repair|--force/);
      await expectDistinct(name, origin, copy);
      expect(run(...argv, copy)).not.toMatch(sign);
      expectFile(copy, "just written");
    });

    test("a copy of a frozen filesystem becomes distinct while the origin is mounted", async () => {
      const origin = await makeImage(name);
      const mountPoint = mount(origin);
      writeDurably(mountPoint, "frozen");
      run("fsfreeze", "--freeze", mountPoint);
      const copy = `${origin}-copy`;
      try {
        copyOf(origin);
      } finally {
        run("fsfreeze", "--unfreeze", mountPoint);
      }
      await distinct(copy);
      await expectDistinct(name, origin, copy);
      expectFile(copy, "frozen");
      writeFileSync(join(mountPoint, "file"), "the origin goes on");
      run("umount", mountPoint);
      run(...CHECK[name], origin);
    });

    test("a copy of a copy becomes distinct too", async () => {
      const origin = await makeImage(name);
      const copy = copyOf(origin);
      await distinct(copy);
      const second = copyOf(copy);
      await distinct(second);
      await expectDistinct(name, copy, second);
      await expectDistinct(name, origin, second);
    });

    test("a plan changes nothing, and says what would be done", async () => {
      const copy = copyOf(await makeImage(name));
      const before = Bun.hash(await Bun.file(copy).bytes());
      const log: string[] = [];
      await makeDistinct(
        plannedSteps((text) => log.push(text)),
        name,
        copy,
        lockFd,
      );
      expect(Bun.hash(await Bun.file(copy).bytes())).toBe(before);
      expect(log.length).toBeGreaterThan(0);
      for (const text of log) expect(text).toEndWith(copy);
    });

    test("what is not what its record says is DAMAGED, and stays as it is", async () => {
      const other = name === "ext4" ? "xfs" : "ext4";
      const blank = join(bed.location, `blank-${count++}`);
      run("truncate", "-s", "16M", blank);
      for (const [path, found] of [
        [await makeImage(other), other],
        [blank, null],
      ] as const) {
        const before = Bun.hash(await Bun.file(path).bytes());
        await expect(distinct(path)).rejects.toMatchObject({
          code: "DAMAGED",
          message: `its record says ${name}, but it holds ${found ?? "no filesystem"}`,
          details: { recorded: name, found },
        });
        expect(Bun.hash(await Bun.file(path).bytes())).toBe(before);
      }
    });
  });

  test("a copy of an ext4 without a seed of its checksums, as others make it, is checked first", async () => {
    const origin = join(bed.location, `image-${count++}`);
    run("truncate", "-s", "64M", origin);
    run("mkfs.ext4", "-q", "-O", "metadata_csum,^metadata_csum_seed", origin);
    run("tune2fs", "-T", "20200101", origin);
    const mountPoint = mount(origin);
    writeDurably(mountPoint, "of another tool");
    run("umount", mountPoint);
    const copy = copyOf(origin);
    const log: string[] = [];
    await makeDistinct(
      loggedSteps(directSteps, (text) => log.push(text)),
      "ext4",
      copy,
      lockFd,
    );
    expect(log.filter((text) => text.startsWith("e2fsck"))).toEqual([`e2fsck -f -p ${copy}`]);
    await expectDistinct("ext4", origin, copy);
    expectFile(copy, "of another tool");
  });
}
