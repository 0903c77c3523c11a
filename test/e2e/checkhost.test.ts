import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckFinding } from "../../src/api/results.ts";
import { BACKENDS } from "../../src/backends/registry.ts";
import { FILESYSTEM_NAMES, filesystemOf } from "../../src/filesystems/registry.ts";
import { findTool, packageOf, type Tool } from "../../src/system/runner.ts";
import {
  BEDS,
  type Bed,
  describeOnBed,
  makeTestDirectory,
  removeTestDirectory,
  run,
} from "../support/beds.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { expectRefusal, expectSame, MOCTL, moctl, parseOneObject } from "./moctl.ts";
import { insideNamespace } from "./namespaces.ts";
import { takePicture } from "./picture.ts";
import { type Ended, runProgram } from "./program.ts";

// What check says of a host that lacks something, and of a location that is not what its config says.

let directory: string;
beforeAll(() => {
  directory = makeTestDirectory("checkhost");
});
afterAll(() => removeTestDirectory(directory));

function findingsOf({ exit, stdout, stderr }: Ended, expected: number): readonly CheckFinding[] {
  expect({ exit, stderr }).toEqual({ exit: expected, stderr: "" });
  return (parseOneObject(stdout) as unknown as { findings: CheckFinding[] }).findings;
}

describeOnBed(BEDS.loop[0], (bed) => {
  afterEach(() => clearBed(bed));

  for (const filesystem of FILESYSTEM_NAMES)
    test(`a tool that a loop mosaic with ${filesystem} needs and that is missing, with its package`, () => {
      const config = bed.writeConfig(filesystem, [`default_fs: ${filesystem}`]);
      for (const tool of [...BACKENDS.loop.tools, ...filesystemOf(filesystem).tools])
        expectMissing(config, tool);
    });

  test("a foreign image is named also where the tool that looks into it is missing", () => nameUnknown(bed));

  test("a part of the kernel that is missing, and one that is only missed", () => {
    const keep = "mount -t tmpfs none /mnt; cp -a /dev/null /dev/zero /dev/urandom /mnt";
    const cover = `${keep}; mount -t tmpfs -o mode=755 none /dev; cp -a /mnt/* /dev`;
    const problems = findingsOf(insideNamespace(cover, [bed.config, "check", "--json"]), 10);
    const missing = {
      code: "kernel-feature-missing",
      message: expect.stringContaining(run("uname", "-r").trim()),
    };
    expect(problems).toEqual([expect.objectContaining({ ...missing, severity: "problem", subject: "loop" })]);
    const notes = findingsOf(
      insideNamespace("mount -t tmpfs none /sys/block", [bed.config, "check", "--json"]),
      0,
    );
    expect(notes).toEqual([expect.objectContaining({ ...missing, severity: "note", subject: "diskseq" })]);
    const { stdout } = insideNamespace(cover, [bed.config, "info"]);
    expect(stdout).toMatch(/^kernel: .*, without loop \(Linux 5\.8\)$/m);
  });

  test("without root's privilege nothing is checked", () => refuseUser(bed));
});

test.each(["plain", "btrfs"] as const)("a tool that a %s mosaic needs and that is missing", (type) => {
  const location = makeDirectory(type);
  if (type === "btrfs") {
    run("truncate", "-s", "128M", join(directory, "image"));
    run("mkfs.btrfs", "-q", join(directory, "image"));
    run("mount", "-o", "loop", join(directory, "image"), location);
  }
  const config = writeConfig(type, location);
  for (const tool of BACKENDS[type].tools) expectMissing(config, tool);
});

/** Hides a tool behind a file that nobody can run. */
function expectMissing(config: string, tool: Tool): void {
  const hide = `mount --bind /dev/null ${findTool(tool)}`;
  const findings = findingsOf(insideNamespace(hide, [config, "check", "--json"]), 10);
  expect(findings).toEqual([
    {
      code: "tool-missing",
      severity: "problem",
      subject: tool,
      message: "the program is missing",
      advice: `apt-get install ${packageOf(tool)}`,
      isRepairable: false,
      isRepaired: false,
      error: null,
    },
  ]);
  const { exit, stdout } = insideNamespace(hide, [config, "info"]);
  expect(exit).toBe(0);
  expect(stdout).toMatch(new RegExp(`^tools: .*\\b${packageOf(tool)} \\S+ without ${tool}(,|$)`, "m"));
}

function nameUnknown(bed: Bed): void {
  makeForeign(bed, "old");
  const hide = `mount --bind /dev/null ${findTool("blkid")}`;
  const findings = findingsOf(insideNamespace(hide, [bed.config, "check", "--json"]), 10);
  expect(findings).toEqual([
    expect.objectContaining({ code: "tool-missing", subject: "blkid" }),
    expect.objectContaining({ code: "foreign", subject: "old", advice: null }),
  ]);
}

function refuseUser(bed: Bed): void {
  const program = join(bed.directory, "moctl");
  copyFileSync(MOCTL, program);
  chmodSync(program, 0o755);
  chmodSync(bed.directory, 0o755);
  const ways = [
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"],
    ["unshare", "--user", "--map-root-user"],
  ];
  for (const way of ways) {
    const { exit, stdout, stderr } = runProgram([...way, program, bed.config, "check", "--json"]);
    expect({ exit, stdout }).toEqual({ exit: 1, stdout: "" });
    expect(parseOneObject(stderr)).toMatchObject({ error: { code: "PERMISSION_DENIED" } });
  }
}

function makeDirectory(name: string, mode = 0o755): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  return path;
}

function writeConfig(type: string, location: string, ...lines: readonly string[]): string {
  const path = join(directory, "check.mos");
  writeFileSync(path, [`type: ${type}`, `location: ${location}`, ...lines, ""].join("\n"), { mode: 0o644 });
  return path;
}

const CLOSED: readonly (readonly [string, string, () => string, string])[] = [
  ["missing", "plain", () => join(directory, "missing"), "found nothing"],
  ["a file", "loop", () => MOCTL, "found a file"],
  ["without subvolumes", "btrfs", () => makeDirectory("no-btrfs"), "expected a btrfs filesystem"],
  ["writable by others", "plain", () => makeDirectory("open", 0o777), "chmod go-w"],
];

test.each(CLOSED)("a location that is %s is a problem, and exit 10", (_what, type, makeLocation, says) => {
  const location = makeLocation();
  expectClosed(writeConfig(type, location), location, says, (args) => moctl(args));
});

test("a location that is not mounted is a problem, by requireMount and by fstab", () => {
  const location = makeDirectory("unmounted");
  const isOnRoot = run("findmnt", "-n", "-o", "TARGET", "-T", location).trim() === "/";
  const wanted = writeConfig("plain", location, "requireMount: true");
  // Where the test directory is on another filesystem than the root, that one is the mount.
  if (isOnRoot) expectClosed(wanted, location, "requireMount", (args) => moctl(args));
  else expect(moctl([wanted, "check"]).exit).toBe(0);
  const config = writeConfig("plain", location);
  writeFileSync(join(directory, "fstab"), `/dev/sdz1 ${location} ext4 defaults 0 2\n`);
  const setup = `mount -t tmpfs -o mode=755 none /etc && cp '${directory}/fstab' /etc/fstab`;
  expectClosed(config, location, "/etc/fstab", (args) => insideNamespace(setup, args));
});

function expectClosed(
  config: string,
  location: string,
  says: string,
  run: (args: readonly string[]) => Ended,
): void {
  const before = takePicture(directory);
  const [finding, ...others] = findingsOf(run([config, "check", "--json"]), 10);
  expect(others).toEqual([]);
  expect(finding).toMatchObject({
    code: "location",
    severity: "problem",
    subject: location,
    isRepairable: false,
  });
  expect(finding?.message).toContain(says);
  expect(findingsOf(run([config, "check", "--repair", "--json"]), 10)).toHaveLength(1);
  const people = run([config, "check"]);
  expect(people).toMatchObject({ exit: 10, stderr: "" });
  expect(people.stdout).toMatch(
    /^problem: location: [^\n]+\n(\s[^\n]*\n)*problems: 1, repaired: 0, notes: 0\n$/,
  );
  expectSame(directory, before);
}

test("a config that is wrong is an error, as for every action", () => {
  const config = writeConfig("plain", makeDirectory("fine"), "colour: red");
  expectRefusal(directory, [config, "check"], { exit: 2, code: "INVALID_CONFIG", says: "colour" });
  const absent = { exit: 3, code: "NOT_FOUND" };
  expectRefusal(directory, [join(directory, "absent.mos"), "check"], absent);
});
