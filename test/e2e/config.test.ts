import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { makeTestDirectory, removeTestDirectory, run } from "../support/beds.ts";
import { expectRefusal, moctl, succeed, succeedJson } from "./moctl.ts";
import { insideNamespace } from "./namespaces.ts";

// Which configs the program takes, and from where.

let directory: string;
let config: string;
const GOOD = "type: plain\nlocation: ./vm\n";

beforeAll(() => {
  directory = makeTestDirectory("config");
  config = join(directory, "vm.mos");
  mkdirSync(join(directory, "vm"), { mode: 0o755 });
});
afterAll(() => removeTestDirectory(directory));

const BAD_TEXTS: [string, string, string][] = [
  ["an empty file", "", "1:1: expected a mapping"],
  ["a list", "- a\n", "1:1: expected a mapping"],
  ["a key twice", `${GOOD}type: plain\n`, "3:1: the key is there twice"],
  ["a second document", `${GOOD}---\n${GOOD}`, ": expected one document, found a second one"],
  ["no location", "type: plain\n", 'the key "location" is missing'],
  ["no type", "location: ./vm\n", 'the key "type" is missing'],
  ["an unknown type", "type: plan\nlocation: ./vm\n", "1:7: type: expected one of plain"],
  ["an unknown key", `${GOOD}volumemap: x x\n`, '3:1: unknown key "volumemap": did you mean "volumeMap"?'],
  [
    "a key of another type",
    `${GOOD}default_fs: ext4\n`,
    '3:1: a mosaic of type plain has no key "default_fs"',
  ],
  [
    "an unknown filesystem",
    "type: loop\nlocation: ./vm\ndefault_fs: ntfs\n",
    "3:13: default_fs: expected one of ext4",
  ],
  ["a location that is a number", "type: plain\nlocation: 5\n", "2:11: location: expected a text, found 5"],
  ["an empty location", "type: plain\nlocation: ''\n", "2:11: location: expected a text that is not empty"],
  ["a layout that leads out", `${GOOD}layout:\n  fs: ../x\n`, '4:7: Invalid stored name "../x"'],
  ["an unknown layout", `${GOOD}layout:\n  sf: x\n`, "4:3: unknown key"],
  ["a map of one word", `${GOOD}volumeMap: abc\n`, "3:12: volumeMap: expected two words"],
  ["a map with a group that is not there", `${GOOD}volumeMap: \\(a\\) \\2\n`, "the replacement has \\2"],
  ["a map that is no expression", `${GOOD}volumeMap: \\(a x\n`, "3:12: volumeMap: in the regular expression"],
  ["a tab for a blank", `type: plain\n\tlocation: ./vm\n`, ":2:1:"],
  ["an alias to nowhere", `type: plain\nlocation: *x\n`, "2:"],
  ["a binary", "\u0000\u0001\u001b[31m", "1:1:"],
];

test.each(BAD_TEXTS)("%s is refused at its place", (_what, text, says) => {
  writeFileSync(config, text, { mode: 0o644 });
  const error = expectRefusal(directory, [config, "list"], { exit: 2, code: "INVALID_CONFIG" });
  expect(error.message).toContain(says);
  expect(error.message).toMatch(/^[^\n]+\n {2}\d+ \| .*\n {3,} \| *\^$/);
  expect(error.details.file).toBe(config);
});

const BOMB = `a: &a [x, x]\n${[..."bcdefghijklmnop"].map((key, index) => `${key}: &${key} [*${"abcdefghijklmnop"[index]}, *${"abcdefghijklmnop"[index]}]`).join("\n")}\n${GOOD}`;

test.each([
  ["aliases that grow without end", BOMB],
  ["an expression that backtracks without end", `${GOOD}volumeMap: \\(\\(a*\\)*\\)*b \\1\n`],
  [
    "an expression that repeats without end",
    `${GOOD}volumeMap: \\(\\(\\(a\\{255\\}\\)\\{255\\}\\)\\{255\\}\\) \\1\n`,
  ],
])("%s is answered at once", (_what, text) => {
  writeFileSync(config, text, { mode: 0o644 });
  const start = performance.now();
  const { exit } = moctl([config, "have", "a".repeat(100)]);
  expect(exit).toBe(2);
  expect(performance.now() - start).toBeLessThan(5000);
});

/** What is wrong about the file itself: how it is made, and how that is taken back where its removal is not enough. */
const BAD_FILES: [string, (path: string) => void, string][] = [
  ["writable by its group", (path) => chmodSync(path, 0o664), "chmod go-w"],
  ["writable by all", (path) => chmodSync(path, 0o646), "chmod go-w"],
  ["a user's", (path) => chownSync(path, 65534, 0), "chown root"],
  ["a link", (path) => moveAndLink(path), "symbolic link"],
  ["two names of one file", (path) => linkSync(path, `${path}2`), "hard links"],
  ["a FIFO", (path) => void run("sh", "-c", 'rm "$1" && mkfifo "$1"', "sh", path), "not a regular file"],
  ["a directory", (path) => void run("sh", "-c", 'rm "$1" && mkdir "$1"', "sh", path), "not a regular file"],
  [
    "a device",
    (path) => void run("sh", "-c", 'rm "$1" && mknod "$1" c 1 5', "sh", path),
    "not a regular file",
  ],
  ["10 MB long", (path) => void run("truncate", "-s", "10M", path), "at most 65536"],
];

test.each(BAD_FILES)("a config that is %s is refused", (_what, spoil, says) => {
  const path = join(directory, "bad.mos");
  writeFileSync(path, GOOD, { mode: 0o644 });
  spoil(path);
  const { details } = expectRefusal(directory, [path, "list"], { exit: 2, code: "INVALID_CONFIG", says });
  expect(details.file).toBe(path);
  for (const left of [path, `${path}2`]) rmSync(left, { recursive: true, force: true });
});

function moveAndLink(path: string): void {
  renameSync(path, `${path}2`);
  symlinkSync(`${path}2`, path);
}

test.each([
  ["that others may write", (path: string) => chmodSync(path, 0o777), "others may write the directory"],
  ["of a user", (path: string) => chownSync(path, 65534, 0), "owns the directory"],
])("a config in a directory %s is refused", (_what, spoil, says) => {
  const open = join(directory, "open");
  mkdirSync(join(open, "inner"), { recursive: true });
  writeFileSync(join(open, "inner/vm.mos"), GOOD, { mode: 0o644 });
  spoil(open);
  expectRefusal(directory, [join(open, "inner/vm.mos"), "list"], { exit: 2, code: "INVALID_CONFIG", says });
  rmSync(open, { recursive: true });
});

test("names are found by MOSAIC_CONFIG_DIR, with the endings in their order", () => {
  const settings = { env: { MOSAIC_CONFIG_DIR: directory } };
  for (const ending of ["yml", "yaml", "mos"]) {
    writeFileSync(join(directory, `pool.${ending}`), GOOD, { mode: 0o644 });
    const { exit, stdout } = moctl(["pool", "info", "--json"], settings);
    expect({ exit, ...JSON.parse(stdout) }).toMatchObject({
      exit: 0,
      name: "pool",
      config: join(directory, `pool.${ending}`),
    });
  }
  expect(moctl(["pool.yml", "info", "--json"], settings).stdout).toContain(`"${directory}/pool.yml"`);
  for (const ending of ["yml", "yaml", "mos"]) rmSync(join(directory, `pool.${ending}`));
  expectRefusal(
    directory,
    ["pool", "info"],
    { exit: 3, code: "NOT_FOUND", says: `no ${directory}/pool.mos` },
    settings,
  );
  expectRefusal(directory, ["../pool", "info"], { exit: 3, code: "NOT_FOUND", says: '"/pool"' }, settings);
});

test("names are found in /etc/mosaic where nothing else is said", () => {
  writeFileSync(config, `type: plain\nlocation: ${directory}/vm\n`, { mode: 0o644 });
  const setup = `mount -t tmpfs -o mode=755 none /etc && mkdir /etc/mosaic && cp '${config}' /etc/mosaic/main.mos`;
  expect(insideNamespace(setup, ["main", "have", "x"])).toEqual({
    exit: 0,
    stdout: "x exists: no\n",
    stderr: "",
  });
});

test("a path begins with . or /, and a relative location begins at the config", () => {
  writeFileSync(config, GOOD, { mode: 0o644 });
  copyFileSync(config, join(directory, "vm/inner.mos"));
  mkdirSync(join(directory, "vm/vm"), { mode: 0o755 });
  const location = (said: string) =>
    JSON.parse(moctl([said, "info", "--json"], { cwd: join(directory, "vm") }).stdout).location;
  expect(location("../vm.mos")).toBe(join(directory, "vm"));
  expect(location("./inner.mos")).toBe(join(directory, "vm/vm"));
  expect(succeedJson(config, "info").location).toBe(join(directory, "vm"));
  rmSync(join(directory, "vm/vm"), { recursive: true });
  rmSync(join(directory, "vm/inner.mos"));
  expect(succeed(config, "list")).toBe("");
});
