import { expect, test } from "bun:test";
import { join } from "node:path";
import packageFile from "../../package.json";
import { expectRefusal, moctl, parseOneObject, succeed } from "./moctl.ts";

// The words of the command line: help, abbreviations, wrong usage.

const ACTIONS = [
  "mount",
  "umount",
  "attach",
  "detach",
  "create",
  "clone",
  "drop",
  "info",
  "have",
  "list",
  "adopt",
  "resize",
  "check",
];

test("--version is the package's, --help names every action", () => {
  expect(succeed("--version")).toBe(`moctl ${packageFile.version}\n`);
  const help = succeed("--help");
  for (const action of ACTIONS) expect(help).toMatch(new RegExp(`^ {2}${action} `, "m"));
});

test.each(ACTIONS)("%s explains itself, whatever stands around --help", (action) => {
  const help = succeed(action, "--help");
  expect(help).toStartWith(`Usage: moctl CONFIG ${action}`);
  expect(help).toContain(`\n${action}: `);
  for (const args of [
    ["--help", action],
    ["nowhere", action, "--help"],
    ["./no", "--help", action, "x", "y"],
  ])
    expect(succeed(...args)).toBe(help);
});

test("man is the page of the manual, completion what a shell loads", async () => {
  const read = (path: string) => Bun.file(join(import.meta.dir, "../..", path)).text();
  expect(succeed("man")).toBe(await read("doc/moctl.8"));
  for (const shell of ["bash", "zsh", "fish"])
    expect(succeed("completion", shell)).toBe(await read(`src/cli/shells/moctl.${shell}`));
  expectRefusal(import.meta.dir, ["completion"], {
    exit: 2,
    code: "INVALID_ARGUMENT",
    says: "moctl completion {bash|zsh|fish}",
  });
});

// The first in this order wins: mount, umount, attach, detach, create, clone, drop, info, have, then the newer ones.
test.each([
  ["mount", "m mo mou moun"],
  ["umount", "u um"],
  ["attach", "a at"],
  ["detach", "d de"],
  ["create", "c cr new n ne"],
  ["clone", "cl clon"],
  ["drop", "dr"],
  ["info", "i in"],
  ["have", "h ha"],
  ["list", "l li"],
  ["adopt", "ad"],
  ["resize", "r re"],
  ["check", "ch che"],
])("%s is meant by %s", (action, words) => {
  for (const word of words.split(" ")) expect(succeed(word, "--help")).toBe(succeed(action, "--help"));
});

test.each([
  [[], "expected a config and an action"],
  [["./x"], "expected a config and an action"],
  [["./x", "mout"], 'Unknown action "mout": did you mean mount?'],
  [["./x", ""], 'Unknown action ""'],
  [["./x", "mounts"], 'Unknown action "mounts"'],
  [["./x", "create", "fs"], "VOLUME is missing"],
  [["./x", "create", "fs", "a", "1m", "b"], 'unexpected "b"'],
  [["./x", "create", "f s", "a", "1m"], 'Unknown {fs|disk} "f s"'],
  [["./x", "create", "", "a", "1m"], 'Unknown {fs|disk} ""'],
  [["./x", "create", "fs", "a", "1x"], 'Invalid size "1x"'],
  [["./x", "create", "fs", "a", "0"], 'Invalid size "0"'],
  [["./x", "create", "fs", "a", "9999999999999T"], "Invalid size"],
  [["./x", "mount", "-o", "noexec", "a", "/mnt"], 'Unknown mount flag "noexec"'],
  [["./x", "mount", "-o", "ro,rw", "a", "/mnt"], "exclude each other"],
  [["./x", "mount", "a", "/mnt", "-o"], "The option -o needs a value"],
  [["./x", "info", "-o", "ro"], "info has no option -o"],
  [["./x", "info", "--from"], "The option --from needs a value"],
  [["./x", "info", "--jsn"], 'Unknown option "--jsn": did you mean --json?'],
  [["./x", "info", "--wait", "soon"], 'Invalid value "soon" of --wait'],
  [["a/b", "info"], 'for a path say "./a/b"'],
])("wrong usage %p is refused", (args, says) => {
  expectRefusal(import.meta.dir, args, { exit: 2, code: "INVALID_ARGUMENT", says });
});

test("--json gives one object for a wrong command line, too", () => {
  const { exit, stdout, stderr } = moctl(["--json"]);
  expect([exit, stdout]).toEqual([2, ""]);
  expect(parseOneObject(stderr)).toHaveProperty("error.code", "INVALID_ARGUMENT");
});
