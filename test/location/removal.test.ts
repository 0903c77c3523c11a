import { describe, expect, test } from "bun:test";
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { removeTree } from "../../src/location/removal.ts";
import { openBeneath } from "../../src/system/libc.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

const DEPTH = 20_000;
/** A runtime needs some descriptors for itself; a removal that kept one for each level would need thousands. */
const FEW_DESCRIPTORS = 48;

describeOnBed({ name: "removal", backend: "plain", filesystem: "ext4" }, testRemoval);

function testRemoval(bed: Bed): void {
  let count = 0;

  function makeTree(...directories: string[]): string {
    const path = join(bed.location, `tree-${count++}`);
    mkdirSync(path);
    for (const directory of directories) mkdirSync(join(path, directory), { recursive: true });
    return path;
  }

  const remove = (path: string) => removeTree(directSteps, path);

  describe("all is removed:", () => {
    test("files, directories and what is neither", async () => {
      const path = makeTree("a/b/c", "a/empty", "d");
      for (const file of ["top", "a/1", "a/b/2", "a/b/c/3"]) writeFileSync(join(path, file), "x");
      run("mkfifo", join(path, "a/fifo"));
      run("mknod", join(path, "d/device"), "b", "7", "0");
      await remove(path);
      expect(existsSync(path)).toBe(false);
    });

    test("an empty directory", async () => {
      const path = makeTree();
      await remove(path);
      expect(existsSync(path)).toBe(false);
    });

    test("names that are no text, and the strangest that are", async () => {
      const path = makeTree("sub");
      const names = [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0x2d, 0x72, 0x66], [0x0a], [0x2e, 0x2e, 0x2e]];
      for (const name of [...names.map((bytes) => Buffer.from(bytes)), Buffer.alloc(255, 0xfe)]) {
        for (const parent of [path, join(path, "sub")]) {
          const child = Buffer.concat([Buffer.from(`${parent}/`), name]);
          mkdirSync(child);
          writeFileSync(Buffer.concat([child, Buffer.from("/"), name]), "");
        }
      }
      await remove(path);
      expect(existsSync(path)).toBe(false);
    });

    test("directories that nobody may read or write", async () => {
      const path = makeTree("a/b/c");
      run("chmod", "-R", "0", path);
      await remove(path);
      expect(existsSync(path)).toBe(false);
    });

    test("many entries, while other work of this process goes on", async () => {
      const path = makeTree("sub");
      for (let index = 0; index < 3000; index++) writeFileSync(join(path, `sub/${index}`), "");
      let turns = 0;
      const timer = setInterval(() => turns++, 0);
      await remove(path);
      clearInterval(timer);
      expect(existsSync(path)).toBe(false);
      expect(turns).toBeGreaterThan(0);
    });

    test(`a tree of ${DEPTH} levels with few descriptors`, () => {
      const path = makeTree();
      makeDeep(path, DEPTH);
      const code = `
        const { removeTree } = await import(${JSON.stringify(join(import.meta.dir, "../../src/location/removal.ts"))});
        const { directSteps } = await import(${JSON.stringify(join(import.meta.dir, "../../src/system/steps.ts"))});
        await removeTree(directSteps, ${JSON.stringify(path)});`;
      run("prlimit", `--nofile=${FEW_DESCRIPTORS}`, process.execPath, "-e", code);
      expect(existsSync(path)).toBe(false);
    }, 60_000);
  });

  test("no link is followed, neither inside nor in the place of the tree", async () => {
    const outside = makeTree("sub");
    writeFileSync(join(outside, "sub/precious"), "x");
    const path = makeTree("a");
    symlinkSync(outside, join(path, "link"));
    symlinkSync("../..", join(path, "a/up"));
    symlinkSync("nowhere", join(path, "a/dangling"));
    await remove(path);
    expect(existsSync(path)).toBe(false);
    symlinkSync(outside, path);
    await expect(remove(path)).rejects.toMatchObject({ details: { errno: "ELOOP" } });
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(outside, "sub/precious"), "utf8")).toBe("x");
  });

  test.each(["m", "a/m", "a/b/c/m"])(
    "a mount at %j is BUSY, its content is untouched, and a second call ends it",
    async (at) => {
      const path = makeTree(at, "other/deep");
      const precious = makeTree();
      writeFileSync(join(precious, "file"), "precious");
      run("mount", "--bind", precious, join(path, at));
      await expect(remove(path)).rejects.toMatchObject({
        code: "BUSY",
        message: expect.stringMatching(/^Cannot remove ".+" in ".+": something is mounted there$/),
        details: expect.objectContaining({ path }),
      });
      expect(readFileSync(join(precious, "file"), "utf8")).toBe("precious");
      const mountPoint = run("findmnt", "-n", "-l", "-o", "TARGET")
        .split("\n")
        .find((line) => line.startsWith(path));
      expect(readFileSync(join(mountPoint ?? "", "file"), "utf8")).toBe("precious");
      run("umount", mountPoint ?? "");
      await remove(path);
      expect(existsSync(path)).toBe(false);
      expect(readdirSync(precious)).toEqual(["file"]);
    },
  );

  test("a file that is mounted is BUSY too, and so is the tree itself", async () => {
    const path = makeTree("a");
    writeFileSync(join(path, "a/file"), "");
    run("mount", "--bind", "/proc/self/status", join(path, "a/file"));
    await expect(remove(path)).rejects.toMatchObject({ code: "BUSY" });
    run("umount", join(path, "a/file"));
    run("mount", "-t", "tmpfs", "none", path);
    writeFileSync(join(path, "in-tmpfs"), "");
    await expect(remove(path)).rejects.toMatchObject({ details: { errno: "EXDEV" } });
    expect(readdirSync(path)).toEqual(["in-tmpfs"]);
    run("umount", path);
    await remove(path);
  });

  test.each([
    ["an immutable file", "a/b/file"],
    ["an immutable directory", "a/b"],
    ["an immutable tree", ""],
  ])(
    "%s is PERMISSION_DENIED with the command that helps, and then a second call ends it",
    async (_what, at) => {
      const path = makeTree("a/b/c", "z");
      for (const file of ["a/b/file", "a/b/c/file", "top"]) writeFileSync(join(path, file), "x");
      run("chattr", "+i", join(path, at));
      await expect(remove(path)).rejects.toMatchObject({
        code: "PERMISSION_DENIED",
        message: expect.stringContaining(`it is immutable or append-only: chattr -R -ia ${path}`),
      });
      run("chattr", "-R", "-ia", path);
      await remove(path);
      expect(existsSync(path)).toBe(false);
    },
  );

  test("what is not there is an error", async () => {
    await expect(remove(join(bed.location, "none"))).rejects.toMatchObject({ details: { errno: "ENOENT" } });
  });

  test("a plan removes nothing", async () => {
    const path = makeTree("a");
    const log: string[] = [];
    await removeTree(
      plannedSteps((text) => log.push(text)),
      path,
    );
    expect(log).toEqual([`rm -r --one-file-system ${path}`]);
    expect(readdirSync(path)).toEqual(["a"]);
  });
}

/** Directories inside each other, deeper than any path is long, with a file beside each. */
function makeDeep(path: string, depth: number): void {
  let fd = openSync(path, "r");
  for (let level = 0; level < depth; level++) {
    mkdirSync(`/proc/self/fd/${fd}/d`);
    if (level % 1000 === 0) writeFileSync(`/proc/self/fd/${fd}/file`, "");
    const inner = openBeneath(fd, "d", constants.O_RDONLY | constants.O_DIRECTORY);
    closeSync(fd);
    fd = inner;
  }
  closeSync(fd);
}
