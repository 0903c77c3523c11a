import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";
import { expectOneMessage, MOCTL, moctl, succeed } from "./moctl.ts";
import { runProgram } from "./program.ts";

// Standard output that fails, and the variables by which Bun itself could be steered.

let directory: string;
let config: string;

beforeAll(() => {
  directory = makeTestDirectory("runtime");
  config = join(directory, "vm.mos");
  mkdirSync(join(directory, "vm"), { mode: 0o755 });
  writeFileSync(config, "type: plain\nlocation: ./vm\n", { mode: 0o644 });
  writeFileSync(join(directory, "evil.js"), `require("node:fs").writeFileSync("${directory}/sprung", "");`);
  writeFileSync(join(directory, "bunfig.toml"), 'preload = ["./evil.js"]\n');
});
afterAll(() => removeTestDirectory(directory));

const OUTPUTS = [
  ["--help"],
  ["--version"],
  ["CONFIG", "info"],
  ["CONFIG", "info", "--json"],
  ["CONFIG", "list", "--json"],
];

test.each(OUTPUTS)("a full standard output is exit 74: %s %s %s", (...args) => {
  const { exit, stderr } = runShell('exec "$@" >/dev/full', args);
  expect(exit).toBe(74);
  expectOneMessage(stderr);
  expect(stderr).toContain("ENOSPC");
});

test.each(OUTPUTS)(
  "a standard output that nobody reads any more is exit 141 without a word: %s %s %s",
  (...args) => {
    const closed = 'exec 4<>"$0"; exec 5>"$0"; exec 4>&-; exec "$@" >&5 5>&-';
    const pipe = join(directory, "pipe");
    if (!existsSync(pipe)) runProgram(["mkfifo", pipe]);
    expect(runShell(closed, args, pipe)).toEqual({ exit: 141, stdout: "", stderr: "" });
  },
);

test("what has nothing to say does not care about its output", () => {
  expect(runShell('exec "$@" >/dev/full', ["CONFIG", "create", "fs", "quiet"])).toEqual({
    exit: 0,
    stdout: "",
    stderr: "",
  });
  expect(succeed(config, "drop", "quiet")).toBe("");
});

test.each([
  ["BUN_OPTIONS", "--preload=./evil.js"],
  ["BUN_OPTIONS", "--preload ./evil.js"],
  ["BUN_OPTIONS", "--config=./bunfig.toml"],
  ["BUN_INSPECT", "1"],
  ["BUN_INSPECT_PRELOAD", "./evil.js"],
])("%s=%s stops the program before it does anything", (name, value) => {
  const { exit, stdout } = moctl([config, "create", "fs", "web"], { cwd: directory, env: { [name]: value } });
  expect([exit, stdout]).toEqual([1, ""]);
  expect(existsSync(join(directory, "sprung"))).toBe(false);
  expect(existsSync(join(directory, "vm/web"))).toBe(false);
});

test.each([
  ["BUN_OPTIONS", "--env-file=./evil.env"],
  ["BUN_CONFIG_FILE", "./bunfig.toml"],
  ["NODE_OPTIONS", "--require=./evil.js"],
  ["NODE_PATH", "."],
])("%s=%s is ignored", (name, value) => {
  const settings = { cwd: directory, env: { [name]: value } };
  expect(moctl([config, "have", "x"], settings)).toEqual({ exit: 0, stdout: "x exists: no\n", stderr: "" });
  expect(existsSync(join(directory, "sprung"))).toBe(false);
});

test("options of Bun among the arguments are ours, and unknown", () => {
  const { exit, stderr } = moctl(["--preload", "./evil.js", config, "info"], { cwd: directory });
  expect(exit).toBe(2);
  expectOneMessage(stderr);
  expect(existsSync(join(directory, "sprung"))).toBe(false);
});

// A known gap, which no flag of the build closes: the manual tells to unset it. This test shows when that changes.
test("BUN_BE_BUN=1 makes the program Bun", () => {
  const { stdout } = moctl(["--version"], { env: { BUN_BE_BUN: "1" } });
  expect(stdout).toBe(`${Bun.version}\n`);
});

function runShell(line: string, args: readonly string[], zero = "sh") {
  const words = args.map((word) => (word === "CONFIG" ? config : word));
  return runProgram(["sh", "-c", line, zero, MOCTL, ...words]);
}
