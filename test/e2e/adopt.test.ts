import { afterEach, expect, test } from "bun:test";
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, BEDS, type Bed, describeOnBed, needsSize, run } from "../support/beds.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { createFs, expectRefusal, expectSame, MOCTL, moctl, succeed, succeedJson } from "./moctl.ts";
import { takePicture } from "./picture.ts";
import { runProgram } from "./program.ts";

// What has no valid record is foreign: not listed, never changed, and adopted only when asked and when it can be a volume.

const RECORD = "trusted.mosaic.volume";

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("a foreign object is seen and left alone, and adopted by the command that is told", () =>
      adoptForeign(bed));
    test("what cannot be a volume is not adopted", () => refuseOthers(bed));
    test("a copy that brought its record along is foreign", () => tellCopy(bed));
    test("a record that says nonsense makes no volume", () => ignoreNonsense(bed));
  });
}

describeOnBed(BEDS.loop[0], (bed) => {
  afterEach(() => clearBed(bed));
  test("an image is adopted as what it holds", () => adoptImages(bed));
  test("an image with two names is foreign, and not adopted", () => refuseHardLink(bed));
  test("an image with two names is not listed", () => hideHardLink(bed));
  test("a record whose names are no texts makes no volume", () => ignoreWrongTypes(bed));
  test("the adopt command that is told can be pasted into a shell", () => pasteAdvice(bed));
  test("a refused adopt does not tell to adopt", () => giveNoEmptyAdvice(bed));
});

function adoptForeign(bed: Bed): void {
  const { config, directory } = bed;
  const mountPoint = bed.makeMountPoint();
  const path = makeForeign(bed, "a/old");
  const before = takePicture(directory);
  expect(succeed(config, "list")).toBe("");
  const have = moctl([config, "have", "a/old"]);
  expect(have).toMatchObject({ exit: 0, stdout: "a/old exists: no\n" });
  expect(have.stderr).toMatch(/^hint: [^\n]*foreign[^\n]* adopt [^\n]*a\/old\n$/);
  const foreign = { exit: 3, code: "NOT_FOUND", says: "foreign" };
  for (const args of [
    ["drop", "a/old"],
    ["mount", "a/old", mountPoint],
    ["umount", "a/old", mountPoint],
  ])
    expect(expectRefusal(directory, [config, ...args], foreign).details.reason).toBe("foreign");
  const size = needsSize(bed.row) ? ["16m"] : [];
  expectRefusal(directory, [config, "create", "fs", "a/old", ...size], {
    exit: 4,
    code: "ALREADY_EXISTS",
    says: "no volume",
  });
  expectSame(directory, before);
  const told = expectRefusal(directory, [config, "drop", "a/old"], foreign).details.adopt as string;
  expect(have.stderr).toEndWith(`: ${told}\n`);
  const [program, ...words] = told.replace("fs|disk", "fs").split(" ");
  expect(program).toBe("moctl");
  expect(succeed(...words)).toBe("");
  expect(moctl([config, "have", "a/old"])).toEqual({ exit: 0, stdout: "a/old exists: yes\n", stderr: "" });
  const [volume] = succeedJson(config, "list").volumes as Record<string, unknown>[];
  expect(volume).toMatchObject({
    name: "a/old",
    kind: "fs",
    sizeBytes: needsSize(bed.row) ? 16 * 1024 ** 2 : null,
  });
  expectRefusal(directory, [config, "adopt", "fs", "a/old"], { exit: 4, code: "ALREADY_EXISTS" });
  succeed(config, "mount", "a/old", mountPoint);
  succeed(config, "umount", "a/old", mountPoint);
  succeed(config, "drop", "a/old");
  expect(
    takePicture(bed.location).files.filter((line) => line.includes(path.slice(bed.location.length + 1))),
  ).toEqual([]);
}

function refuseOthers(bed: Bed): void {
  createFs(bed, "parent/web");
  const at = (name: string) => join(bed.location, name);
  symlinkSync("parent/web", at("link"));
  run("mkfifo", at("fifo"));
  run("mknod", at("device"), "b", "7", "0");
  // What is not of the form of its volumes.
  if (["plain", "ploop"].includes(bed.row.backend)) writeFileSync(at("shape"), "a file");
  else mkdirSync(at("shape"));
  const rows: [string[], number, string, string | RegExp][] = [
    [["fs", "shape"], 8, "UNSUPPORTED", "cannot be adopted"],
    [["fs", "parent"], 8, "UNSUPPORTED", "cannot be adopted"],
    [["fs", "parent/web"], 4, "ALREADY_EXISTS", "already"],
    [["fs", "missing"], 3, "NOT_FOUND", "no volume"],
    [["fs", "link"], 3, "NOT_FOUND", "foreign"],
    [["fs", "link/web"], 3, "NOT_FOUND", "no volume"],
    [["fs", "fifo"], 3, "NOT_FOUND", "neither a file nor a directory"],
    [["fs", "device"], 3, "NOT_FOUND", "neither a file nor a directory"],
    [[], 2, "INVALID_ARGUMENT", "either"],
    [["fs"], 2, "INVALID_ARGUMENT", "either"],
    [["fs", "a", "--from", "/dev/null"], 2, "INVALID_ARGUMENT", /either|JSON/],
  ];
  for (const [args, exit, code, says] of rows)
    expectRefusal(bed.directory, [bed.config, "adopt", ...args], { exit, code, says });
  if (needsSize(bed.row)) return;
  makeForeign(bed, "old");
  expectRefusal(bed.directory, [bed.config, "adopt", "disk", "old"], {
    exit: 8,
    code: "UNSUPPORTED",
    says: "disk",
  });
}

function copyVolume(bed: Bed, from: string, to: string): void {
  const paths = [join(bed.location, from), join(bed.location, to)];
  if (bed.row.backend === "btrfs") run("btrfs", "-q", "subvolume", "snapshot", ...paths);
  else run("cp", "-a", ...paths);
}

function tellCopy(bed: Bed): void {
  createFs(bed, "web");
  copyVolume(bed, "web", "copy");
  const [web] = succeedJson(bed.config, "list").volumes as { id: string; name: string }[];
  expect(succeedJson(bed.config, "list").volumes).toHaveLength(1);
  expectRefusal(bed.directory, [bed.config, "drop", "copy"], { exit: 3, code: "NOT_FOUND", says: "copy" });
  const adopted = succeedJson(bed.config, "adopt", "fs", "copy");
  expect(adopted).toMatchObject({ name: "copy" });
  expect(adopted.id).not.toBe(web?.id);
  succeed(bed.config, "drop", "copy");
  expect(succeedJson(bed.config, "list").volumes).toEqual([
    expect.objectContaining({ id: web?.id, name: "web" }),
  ]);
}

function ignoreNonsense(bed: Bed): void {
  createFs(bed, "web");
  const path = join(bed.location, "web");
  const record = JSON.parse(run("getfattr", "--only-values", "-n", RECORD, path)) as Record<string, unknown>;
  const nonsense = [
    "",
    "x",
    "{}",
    "[]",
    "null",
    "[".repeat(2000),
    JSON.stringify({ ...record, version: 2 }),
    JSON.stringify({ ...record, backend: "zfs" }),
    JSON.stringify({ ...record, storedName: "other" }),
    JSON.stringify({ ...record, name: "../../etc" }),
    JSON.stringify({ ...record, kind: "tape" }),
    JSON.stringify({ ...record, filesystem: "ext4 -o x" }),
    JSON.stringify({ ...record, sizeBytes: -1 }),
    JSON.stringify({ ...record, id: "$(id)" }),
    JSON.stringify({ ...record, labels: { a: 1 } }),
  ];
  for (const value of nonsense) {
    run("setfattr", "-n", RECORD, "-v", `0x${Buffer.from(value).toString("hex")}`, path);
    expect({ value, volumes: succeedJson(bed.config, "list").volumes }).toEqual({ value, volumes: [] });
    expectRefusal(bed.directory, [bed.config, "drop", "web"], {
      exit: 3,
      code: "NOT_FOUND",
      says: "foreign",
    });
  }
  run("setfattr", "-n", RECORD, "-v", JSON.stringify(record), path);
  succeed(bed.config, "drop", "web");
}

function adoptImages(bed: Bed): void {
  const image = (name: string) => join(bed.location, name);
  run("truncate", "-s", "16M", image("blank"));
  run("truncate", "-s", "1000", image("odd"));
  writeFileSync(image("empty"), "");
  run("truncate", "-s", "16M", image("vfat"));
  run("mkfs.ext4", "-q", image("vfat"));
  const refusal = { exit: 8, code: "UNSUPPORTED" };
  expectRefusal(bed.directory, [bed.config, "adopt", "fs", "blank"], { ...refusal, says: "no filesystem" });
  for (const name of ["odd", "empty"])
    for (const kind of ["fs", "disk"])
      expectRefusal(bed.directory, [bed.config, "adopt", kind, name], { ...refusal, says: "sectors" });
  expect(succeedJson(bed.config, "adopt", "disk", "blank")).toMatchObject({
    kind: "disk",
    filesystem: null,
    sizeBytes: 16 * 1024 ** 2,
  });
  expect(succeedJson(bed.config, "adopt", "fs", "vfat")).toMatchObject({ kind: "fs", filesystem: "ext4" });
}

function refuseHardLink(bed: Bed): void {
  createFs(bed, "web");
  linkSync(join(bed.location, "web"), join(bed.location, "second"));
  for (const name of ["web", "second"])
    expectRefusal(bed.directory, [bed.config, "drop", name], { exit: 3, code: "NOT_FOUND", says: "foreign" });
  expectRefusal(bed.directory, [bed.config, "adopt", "fs", "second"], { exit: 8, code: "UNSUPPORTED" });
}

function hideHardLink(bed: Bed): void {
  createFs(bed, "web");
  linkSync(join(bed.location, "web"), join(bed.location, "second"));
  expect(succeedJson(bed.config, "list")).toEqual({ volumes: [] });
}

function ignoreWrongTypes(bed: Bed): void {
  createFs(bed, "5");
  const path = join(bed.location, "5");
  const record = JSON.parse(run("getfattr", "--only-values", "-n", RECORD, path)) as Record<string, unknown>;
  for (const fields of [{ name: 5 }, { name: ["5"] }, { storedName: 5 }]) {
    run("setfattr", "-n", RECORD, "-v", JSON.stringify({ ...record, ...fields }), path);
    expect(succeedJson(bed.config, "list")).toEqual({ volumes: [] });
  }
}

/** What a person would paste into a shell. */
function pasteAdvice(bed: Bed): void {
  const directory = join(bed.directory, "my vms");
  mkdirSync(directory);
  const config = join(directory, "it's.mos");
  writeFileSync(config, `type: ${bed.row.backend}\nlocation: ${bed.location}\n`, { mode: 0o644 });
  makeForeign(bed, "old");
  const { details } = expectRefusal(bed.directory, [config, "drop", "old"], { exit: 3, code: "NOT_FOUND" });
  const advice = `moctl() { "$MOCTL" "$@"; }; ${details.adopt}`;
  const { exit, stderr } = runProgram(["sh", "-c", advice], { env: { MOCTL } });
  expect({ advice, exit, stderr }).toEqual({ advice, exit: 0, stderr: "" });
  expect(succeed(bed.config, "have", "old")).toBe("old exists: yes\n");
}

/** Advice to do what was just refused is none. */
function giveNoEmptyAdvice(bed: Bed): void {
  symlinkSync("elsewhere", join(bed.location, "link"));
  const { message } = expectRefusal(bed.directory, [bed.config, "adopt", "fs", "link"], {
    exit: 3,
    code: "NOT_FOUND",
  });
  expect(message).not.toContain("to make it a volume");
}
