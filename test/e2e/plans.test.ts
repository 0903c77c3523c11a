import { afterEach, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, type Bed, describeOnBed, needsSize } from "../support/beds.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { expectSame, moctl, succeed, succeedJson } from "./moctl.ts";
import { takePicture } from "./picture.ts";

// --dry-run and --verbose: one tells which steps would be taken, the other which were.

const CHANGING = ["mount", "umount", "attach", "detach", "create", "clone", "drop", "adopt"];

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("--dry-run shows the steps that --verbose takes, and takes none", () => expectPlans(bed));
  });
}

/** Each changing action on `web`, in an order in which all of them can be done. */
function listChanges(bed: Bed, mountPoint: string): string[][] {
  const size = needsSize(bed.row) ? ["16m"] : [];
  const hasDevices = needsSize(bed.row);
  const hasClone = bed.row.filesystem !== "ext4";
  return [
    ["create", "fs", "a/web", ...size],
    ["mount", "a/web", mountPoint],
    ["umount", "a/web", mountPoint],
    ...(hasDevices
      ? [
          ["attach", "a/web"],
          ["detach", "a/web"],
        ]
      : []),
    ...(hasClone ? [["clone", "a/web", "b/copy"]] : []),
    ["adopt", "fs", "old-one"],
    ["drop", "a/web"],
    ["mount", "-", mountPoint],
    ["umount", "-", mountPoint],
  ];
}

function expectPlans(bed: Bed): void {
  const mountPoint = join(bed.directory, "it's a place");
  mkdirSync(mountPoint);
  makeForeign(bed, "old-one");
  const seen = new Set<string>();
  for (const change of listChanges(bed, mountPoint)) {
    const before = takePicture(bed.directory);
    const planned = succeed(bed.config, ...change, "--dry-run")
      .trimEnd()
      .split("\n");
    const inJson = succeedJson(bed.config, ...change, "--dry-run").steps as string[];
    expectSame(bed.directory, before);
    expect(generalize(inJson)).toEqual(generalize(planned));
    const { exit, stdout, stderr } = moctl([bed.config, ...change, "--verbose"]);
    expect({ change, exit, stdout: stdout.replace(/^Device: .*\n/, "") }).toEqual({
      change,
      exit: 0,
      stdout: "",
    });
    expect(generalize(readVerbose(stderr))).toEqual(generalize(planned));
    for (const line of planned) expectShellWords(line);
    seen.add(change[0] ?? "");
  }
  expect([...seen].sort()).toEqual(CHANGING.filter((action) => isPossible(bed, action)).sort());
}

function isPossible(bed: Bed, action: string): boolean {
  if (action === "clone") return bed.row.filesystem !== "ext4";
  return needsSize(bed.row) || !["attach", "detach"].includes(action);
}

/** The steps in the output of --verbose that change something; each has its time. A daemon ends when nothing uses it, which no plan knows. */
function readVerbose(stderr: string): string[] {
  return stderr
    .trimEnd()
    .split("\n")
    .map((line) => {
      expect(line).toMatch(/^ *\d+\.\d ms {2}\S/);
      return line.replace(/^ *\d+\.\d ms {2}/, "");
    })
    .filter((line) => !/^(blkid|btrfs subvolume (show|list)|pkill --full) /.test(line));
}

/** Without what differs between two runs: ids of operations, numbers of devices. */
function generalize(lines: readonly string[]): string[] {
  return lines.map((line) =>
    line
      .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "ID")
      .replaceAll(/"image\d*(-file)?"/g, '"image$1"')
      // What lies below an image is told by the image, which a plan does not make.
      .replaceAll(/"backing":\{.*\},"file"/g, '"backing":null,"file"')
      .replaceAll(/\/dev\/loop(\d+|N)/g, "/dev/loopN")
      .replaceAll(/"createdAt":"[^"]+"/g, "TIME"),
  );
}

/** A shell reads each word of the line as it was meant; where its output goes is cut off. */
function expectShellWords(whole: string): void {
  const line = whole.replace(/ (\| socat .*|>\S+)$/, "");
  const shell = Bun.spawnSync([
    "sh",
    "-c",
    'eval "set -- $1" && for word; do printf "%s\\n" "$word"; done',
    "sh",
    line,
  ]);
  expect({ line, exit: shell.exitCode, stderr: shell.stderr.toString() }).toEqual({
    line,
    exit: 0,
    stderr: "",
  });
  const words = shell.stdout.toString().trimEnd().split("\n");
  expect(words.filter((word) => word.includes("it's") && !word.endsWith("it's a place"))).toEqual([]);
  expect(words[0]).toMatch(/^[a-z][a-z0-9.-]+$/);
}
