import { expect, test } from "bun:test";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  getAttribute,
  ioctl,
  isTerminal,
  openBeneath,
  removeAttribute,
  renameAt,
  renameNoReplace,
  setAttribute,
  syncFilesystem,
  tryLock,
  unlinkAt,
} from "../../src/system/libc.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

const ATTRIBUTE = "trusted.mosaic.test";
const withErrno = (errno: string) => expect.objectContaining({ details: expect.objectContaining({ errno }) });

for (const filesystem of ["ext4", "xfs"] as const)
  describeOnBed({ name: `system calls on ${filesystem}`, backend: "plain", filesystem }, testCalls);

function testCalls(bed: Bed): void {
  let count = 0;

  /** Runs `action` with a new directory, by its path and open. */
  function inDirectory(action: (path: string, fd: number) => void): void {
    const path = join(bed.location, `directory-${count++}`);
    mkdirSync(path);
    const fd = openSync(path, "r");
    try {
      action(path, fd);
    } finally {
      closeSync(fd);
    }
  }

  test("openBeneath opens what lies below, for the program itself and not for its children", () => {
    inDirectory((path, fd) => {
      mkdirSync(join(path, "a/b"), { recursive: true });
      writeFileSync(join(path, "a/b/file"), "content");
      for (const name of ["a/b/file", Buffer.from("a/b/file"), "./a/../a/b/file"]) {
        const opened = openBeneath(fd, name, constants.O_RDONLY);
        expect(readFileSync(opened, "utf8")).toBe("content");
        expect(readFileSync(`/proc/self/fdinfo/${opened}`, "utf8")).toMatch(/^flags:\s+0?2\d{6}$/m);
        closeSync(opened);
      }
      expect(() => openBeneath(fd, "a/none", constants.O_RDONLY)).toThrow(withErrno("ENOENT"));
    });
  });

  test.each(["..", "a/../..", "/", "/etc/passwd"])(
    "openBeneath refuses to leave its directory by %j",
    (name) => {
      inDirectory((path, fd) => {
        mkdirSync(join(path, "a"));
        expect(() => openBeneath(fd, name, constants.O_RDONLY)).toThrow(withErrno("EXDEV"));
      });
    },
  );

  test("openBeneath refuses every symbolic link, also one that stays below", () => {
    inDirectory((path, fd) => {
      mkdirSync(join(path, "a"));
      writeFileSync(join(path, "a/file"), "");
      symlinkSync("a", join(path, "to-a"));
      symlinkSync("a/file", join(path, "to-file"));
      symlinkSync("/proc/self/root", join(path, "magic"));
      for (const name of ["to-a/file", "to-file", "magic/etc/passwd"])
        expect(() => openBeneath(fd, name, constants.O_RDONLY)).toThrow(withErrno("ELOOP"));
    });
  });

  test("openBeneath refuses another mount, also of the same filesystem", () => {
    inDirectory((path, fd) => {
      for (const name of ["from", "onto"]) mkdirSync(join(path, name));
      writeFileSync(join(path, "from/file"), "");
      run("mount", "--bind", join(path, "from"), join(path, "onto"));
      for (const name of ["onto", "onto/file"])
        expect(() => openBeneath(fd, name, constants.O_RDONLY)).toThrow(withErrno("EXDEV"));
      run("umount", join(path, "onto"));
      closeSync(openBeneath(fd, "onto", constants.O_RDONLY));
    });
  });

  test("an attribute is written, read by path and descriptor, and removed", () => {
    inDirectory((path, fd) => {
      expect(getAttribute(fd, ATTRIBUTE)).toBeUndefined();
      expect(getAttribute(path, ATTRIBUTE)).toBeUndefined();
      for (const value of ['{"a":"\u00e9\\n"}', "x".repeat(2048), "short again", ""]) {
        setAttribute(fd, ATTRIBUTE, value, false);
        expect(getAttribute(fd, ATTRIBUTE)?.toString()).toBe(value);
        expect(getAttribute(path, ATTRIBUTE)?.toString()).toBe(value);
      }
      setAttribute(fd, ATTRIBUTE, "for getfattr", false);
      expect(run("getfattr", "--absolute-names", "--only-values", "-n", ATTRIBUTE, path)).toBe(
        "for getfattr",
      );
      expect(() => setAttribute(fd, ATTRIBUTE, "other", true)).toThrow(withErrno("EEXIST"));
      removeAttribute(fd, ATTRIBUTE);
      expect(getAttribute(fd, ATTRIBUTE)).toBeUndefined();
      setAttribute(fd, ATTRIBUTE, "new", true);
      removeAttribute(fd, ATTRIBUTE);
      expect(() => removeAttribute(fd, ATTRIBUTE)).toThrow(withErrno("ENODATA"));
    });
  });

  test("an attribute of a symbolic link is not that of its target", () => {
    inDirectory((path, fd) => {
      setAttribute(fd, ATTRIBUTE, "of the target", false);
      symlinkSync(path, `${path}-link`);
      expect(getAttribute(`${path}-link`, ATTRIBUTE)).toBeUndefined();
    });
  });

  if (bed.row.filesystem === "xfs") {
    test("an attribute that is larger than any of ours can be read all the same", () => {
      inDirectory((path, fd) => {
        setAttribute(fd, ATTRIBUTE, "x".repeat(10_000), false);
        expect(getAttribute(fd, ATTRIBUTE)?.length).toBeGreaterThan(2048);
        expect(getAttribute(path, ATTRIBUTE)?.length).toBeGreaterThan(2048);
      });
    });
  }

  test("renameNoReplace moves, and never replaces", () => {
    inDirectory((path) => {
      writeFileSync(join(path, "a"), "a");
      writeFileSync(join(path, "b"), "b");
      expect(() => renameNoReplace(join(path, "a"), join(path, "b"))).toThrow(withErrno("EEXIST"));
      expect(readFileSync(join(path, "b"), "utf8")).toBe("b");
      renameNoReplace(join(path, "a"), join(path, "c"));
      expect(readdirSync(path).sort()).toEqual(["b", "c"]);
      expect(() => renameNoReplace(join(path, "a"), join(path, "d"))).toThrow(withErrno("ENOENT"));
    });
  });

  test("renameAt and unlinkAt take names that are no text", () => {
    inDirectory((path, fd) => {
      const name = Buffer.from([0x66, 0xff, 0xfe]);
      writeFileSync(Buffer.concat([Buffer.from(`${path}/`), name]), "");
      renameAt(fd, name, fd, Buffer.from("text"));
      expect(readdirSync(path)).toEqual(["text"]);
      expect(() => unlinkAt(fd, "text", true)).toThrow(withErrno("ENOTDIR"));
      unlinkAt(fd, "text", false);
      mkdirSync(join(path, "inner"));
      expect(() => unlinkAt(fd, "inner", false)).toThrow(withErrno("EISDIR"));
      unlinkAt(fd, "inner", true);
      expect(readdirSync(path)).toEqual([]);
    });
  });

  test("a lock is exclusive among descriptors and goes with its own", () => {
    inDirectory((path, fd) => {
      expect(tryLock(fd)).toBe(true);
      expect(tryLock(fd)).toBe(true);
      const other = openSync(path, "r");
      expect(tryLock(other)).toBe(false);
      expect(Bun.spawnSync(["flock", "--nonblock", path, "true"], { timeout: 20_000 }).exitCode).toBe(1);
      closeSync(other);
    });
    const path = join(bed.location, `directory-${count - 1}`);
    run("flock", "--nonblock", path, "true");
    expect(() => tryLock(99_999)).toThrow(withErrno("EBADF"));
  });

  test("ioctl gives numbers back, fills buffers, and fails with its errno", () => {
    inDirectory((_path, fd) => {
      const FS_IOC_GETVERSION = 0x80087601;
      const version = Buffer.alloc(8, 0xff);
      ioctl(fd, FS_IOC_GETVERSION, version, "version");
      expect(version.readUInt32LE(4)).not.toBe(version.readUInt32LE(0));
      expect(() => ioctl(fd, 0x4c01, 0, "no loop device")).toThrow(withErrno("ENOTTY"));
      expect(() => syncFilesystem(99_999)).toThrow(withErrno("EBADF"));
      syncFilesystem(fd);
    });
  });

  test("a terminal is told from what is none", () => {
    const terminal = openSync("/dev/ptmx", "r+");
    const device = openSync("/dev/null", "r");
    expect([terminal, device, 99_999].map(isTerminal)).toEqual([true, false, false]);
    expect(fstatSync(device).isCharacterDevice()).toBe(true);
    for (const fd of [terminal, device]) closeSync(fd);
  });

  test("a failed call names its subject", () => {
    inDirectory((path, fd) => {
      expect(() => openBeneath(fd, "none", constants.O_RDONLY)).toThrow(
        expect.objectContaining({
          code: "TOOL_FAILED",
          message: 'openat2 "none": there is no such file or directory (ENOENT)',
          details: { call: "openat2", subject: "none", errno: "ENOENT" },
        }),
      );
      expect(lstatSync(path).isDirectory()).toBe(true);
    });
  });
}
