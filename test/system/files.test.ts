import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
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
  closeFd,
  fileKeyOf,
  findStatus,
  listDirectory,
  makeDirectory,
  makeSparseFile,
  openDirectory,
  openPath,
  removeEmptyDirectory,
  removeFile,
  renamePath,
  setMode,
  syncPath,
  toFileKey,
  writeAttribute,
} from "../../src/system/files.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { makeTestDirectory, removeTestDirectory, run } from "../support/beds.ts";

const umask = process.umask();
let directory = "";
const at = (name: string) => join(directory, name);
const modeOf = (path: string) => lstatSync(path).mode & 0o7777;

beforeEach(() => {
  directory = makeTestDirectory("files");
});
afterEach(() => {
  process.umask(umask);
  removeTestDirectory(directory);
});

describe.each([0o000, 0o022, 0o077, 0o777])("under the umask %o", (mask) => {
  test.each([0o700, 0o711, 0o755])("a directory gets exactly the mode %o", async (mode) => {
    process.umask(mask);
    await makeDirectory(directSteps, at("made"), mode);
    expect(modeOf(at("made"))).toBe(mode);
    await setMode(directSteps, at("made"), 0o750);
    expect(modeOf(at("made"))).toBe(0o750);
  });

  test("a sparse file is root's alone", async () => {
    process.umask(mask);
    closeFd(await makeSparseFile(directSteps, at("image"), 1024 ** 3));
    expect(modeOf(at("image")) & 0o7177).toBe(0);
    const status = lstatSync(at("image"));
    expect([status.size, status.blocks]).toEqual([1024 ** 3, 0]);
  });
});

describe("nothing is replaced:", () => {
  test.each(["file", "directory", "empty directory", "dangling link"])(
    "a rename onto a %s fails",
    async (what) => {
      mkdirSync(at("from"));
      const to = at("to");
      if (what === "file") writeFileSync(to, "precious");
      else if (what === "dangling link") symlinkSync("nowhere", to);
      else mkdirSync(to);
      if (what === "directory") writeFileSync(join(to, "inside"), "precious");
      const before = lstatSync(to).ino;
      await expect(renamePath(directSteps, at("from"), to)).rejects.toMatchObject({
        details: { errno: "EEXIST" },
      });
      expect(lstatSync(to).ino).toBe(before);
      expect(existsSync(at("from"))).toBe(true);
    },
  );

  test("a rename to a free name moves", async () => {
    writeFileSync(at("from"), "content");
    await renamePath(directSteps, at("from"), at("to"));
    expect(readdirSync(directory)).toEqual(["to"]);
    expect(readFileSync(at("to"), "utf8")).toBe("content");
  });

  test("a directory or file is not made where something is, also not behind a link", async () => {
    symlinkSync("behind", at("link"));
    writeFileSync(at("file"), "precious");
    for (const path of [at("link"), at("file")]) {
      await expect(makeDirectory(directSteps, path, 0o700)).rejects.toMatchObject({
        details: { errno: "EEXIST" },
      });
      await expect(makeSparseFile(directSteps, path, 1)).rejects.toMatchObject({
        details: { errno: "EEXIST" },
      });
    }
    expect(readdirSync(directory).sort()).toEqual(["file", "link"]);
    expect(readFileSync(at("file"), "utf8")).toBe("precious");
  });

  test("a sparse file that cannot have its size leaves no descriptor", async () => {
    const count = () => readdirSync("/proc/self/fd").length;
    const before = count();
    await expect(makeSparseFile(directSteps, at("huge"), Number.MAX_SAFE_INTEGER)).rejects.toThrow();
    expect(count()).toBe(before);
  });
});

describe("a symbolic link is not followed", () => {
  beforeEach(() => {
    mkdirSync(at("target"));
    symlinkSync("target", at("link"));
  });

  test("by opening", () => {
    for (const open of [openPath, openDirectory])
      expect(() => open(at("link"))).toThrow(expect.objectContaining({ details: expect.anything() }));
    closeFd(openDirectory(at("target")));
  });

  test("by reading its status", () => {
    expect(findStatus(at("link"))?.isSymbolicLink()).toBe(true);
    expect(findStatus(at("none"))).toBeUndefined();
  });

  test("by writing an attribute", async () => {
    const write = (path: string) => writeAttribute(directSteps, path, "user.mosaic", "x");
    await expect(write(at("link"))).rejects.toMatchObject({ details: { errno: "ELOOP" } });
    await write(at("target"));
    expect(run("getfattr", "--only-values", "-n", "user.mosaic", at("target"))).toBe("x");
  });

  test("by removing", async () => {
    await expect(removeEmptyDirectory(directSteps, at("link"))).rejects.toMatchObject({
      details: { errno: "ENOTDIR" },
    });
    await removeFile(directSteps, at("link"));
    expect(readdirSync(directory)).toEqual(["target"]);
  });
});

test("opening does not wait for the other end of a FIFO", () => {
  run("mkfifo", at("fifo"));
  const fd = openPath(at("fifo"));
  expect(fstatSync(fd).isFIFO()).toBe(true);
  closeFd(fd);
});

test("closing what is not open is an error", () => {
  const fd = openPath(directory);
  closeFd(fd);
  expect(() => closeFd(fd)).toThrow("EBADF");
});

test("a file is known by its device and inode, under every name", () => {
  writeFileSync(at("a"), "");
  run("ln", at("a"), at("b"));
  writeFileSync(at("c"), "");
  const fds = ["a", "b", "c"].map((name) => openSync(at(name), "r"));
  const [a, b, c] = fds.map(fileKeyOf);
  for (const fd of fds) closeSync(fd);
  expect(b).toBe(a as never);
  expect(c).not.toBe(a as never);
  const status = lstatSync(at("a"), { bigint: true });
  expect(a).toBe(toFileKey(status.dev, status.ino));
});

test("an attribute that must be new is not written over", async () => {
  writeFileSync(at("file"), "");
  await writeAttribute(directSteps, at("file"), "user.mosaic", "first", true);
  await expect(writeAttribute(directSteps, at("file"), "user.mosaic", "x", true)).rejects.toMatchObject({
    details: { errno: "EEXIST" },
  });
  expect(run("getfattr", "--only-values", "-n", "user.mosaic", at("file"))).toBe("first");
});

test("an empty directory is removed; one that is not empty, or is not there, is left", async () => {
  mkdirSync(at("full/inner"), { recursive: true });
  expect(await removeEmptyDirectory(directSteps, at("full"))).toBe(false);
  expect(await removeEmptyDirectory(directSteps, at("full/inner"))).toBe(true);
  expect(await removeEmptyDirectory(directSteps, at("full/inner"))).toBe(false);
  expect(listDirectory(at("full"))).toEqual([]);
  expect(listDirectory(at("none"))).toEqual([]);
  expect(listDirectory(directory)).toEqual(["full"]);
});

test("a plan describes each change as a command, and makes none", async () => {
  const log: string[] = [];
  const steps = plannedSteps((text) => log.push(text));
  await makeDirectory(steps, "/p/a b", 0o700);
  expect(await makeSparseFile(steps, "/p/i", 4096)).toBe(-1);
  await setMode(steps, "/p/d", 0o700);
  await writeAttribute(steps, "/p/d", "user.x", "{}");
  await syncPath(steps, "/p/d");
  await renamePath(steps, "/p/d", "/p/e");
  await removeFile(steps, "/p/i");
  expect(await removeEmptyDirectory(steps, "/p/d")).toBe(true);
  expect(log).toEqual([
    "mkdir -m 700 '/p/a b'",
    "truncate -s 4096 /p/i",
    "chmod 700 /p/d",
    "setfattr -n user.x -v '{}' /p/d",
    "sync /p/d",
    "mv --no-clobber --no-target-directory /p/d /p/e",
    "rm /p/i",
    "rmdir /p/d",
  ]);
});
