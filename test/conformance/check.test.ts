import { afterEach, expect, test } from "bun:test";
import { linkSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckFinding } from "../../src/api/results.ts";
import { openMosaic } from "../../src/index.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkAndRepair, checkOnly, expectRepair } from "../support/checking.ts";
import { until } from "../support/expect.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { loopImagesBelow } from "../support/snapshot.ts";

// What check says of the objects in a location and of their records, each provoked for real. What only people can decide
// stays as it is, also with a repair.

const SIZE = 16 * 1024 ** 2;
const RECORD = "trusted.mosaic.volume";
const OTHER = { plain: "btrfs", loop: "plain", btrfs: "loop" } as const;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("nothing, while all is well and in use", () => checkHealthy(bed));
    test("a foreign object, with the command that adopts it", () => findForeign(bed));
    test("a foreign object, where only people know the name for it", () => findMapped(bed));
    test("a copy is a note, and no volume", () => findCopy(bed));
    test("a volume that was moved, with the command that moves it back", () => findMoved(bed));
    test("a moved volume without a way back can be adopted", () => findLost(bed));
    test("a record that cannot be read, or that another backend wrote", () => findAlien(bed));
    test("a record on what it does not describe", () => findContradiction(bed));
    test("a parent that no volume needs, and only one that mosaic made", () => findNeedless(bed));
  });
}

/** Checks that there is this one finding, with and without a repair. */
async function expectDecision(
  bed: Bed,
  finding: Partial<CheckFinding>,
  config: string = bed.config,
): Promise<CheckFinding> {
  const expected = [expect.objectContaining({ ...finding, isRepairable: false, isRepaired: false })];
  const [found, ...others] = await checkOnly(bed, config);
  expect([found, ...others]).toEqual(expected);
  expect(await checkAndRepair(bed, config)).toEqual(expected);
  return found as CheckFinding;
}

/** Runs the command of an advice in a shell, for which moctl is this library. */
async function adopt(bed: Bed, advice: string | null): Promise<string> {
  const words = run("sh", "-c", `for word in ${advice}; do echo "$word"; done`).trimEnd().split("\n");
  const [program, config, action, kind, name] = words;
  expect([program, config, action]).toEqual(["moctl", bed.config, "adopt"]);
  await using mosaic = await openMosaic(config ?? "");
  await mosaic.adoptVolume(name ?? "", kind as "fs" | "disk");
  return `${kind} ${name}`;
}

async function listNames(bed: Bed): Promise<string[]> {
  await using mosaic = await openMosaic(bed.config);
  return mosaic.listVolumes().map(({ name }) => String(name));
}

async function createVolume(bed: Bed, name: string, config: string = bed.config): Promise<string> {
  await using mosaic = await openMosaic(config);
  const { storedName } = await mosaic.createVolume(name, { kind: "fs", sizeBytes: SIZE });
  return join(bed.location, storedName);
}

async function checkHealthy(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { features } = mosaic.info();
  const mountPoint = bed.makeMountPoint();
  expect(await checkOnly(bed)).toEqual([]);
  for (const name of ["web", "a/b/web", "a/idle"]) await createVolume(bed, name);
  await mosaic.mountVolume("web", mountPoint);
  writeFileSync(join(mountPoint, "file"), "x");
  if (features.includes("clone")) await mosaic.cloneVolume("web", "copy/of/web");
  if (features.includes("bdev")) await mosaic.attachVolume("a/b/web");
  expect(await checkOnly(bed)).toEqual([]);
  expect(await checkAndRepair(bed)).toEqual([]);
  expect(await listNames(bed)).toHaveLength(features.includes("clone") ? 4 : 3);
  await mosaic.unmountVolume("web", mountPoint);
  if (features.includes("bdev")) await mosaic.detachVolume("a/b/web");
  await until("the devices to go", () => loopImagesBelow(bed.location).length === 0);
}

async function findForeign(bed: Bed): Promise<void> {
  await createVolume(bed, "group/web");
  const isLoop = bed.row.backend === "loop";
  const names = ["group/old", "old", ...(bed.row.backend === "plain" ? [] : ["x/y/old"])];
  for (const name of names) makeForeign(bed, name);
  if (isLoop) run("truncate", "-s", "8M", join(bed.location, "blank"));
  const findings = await checkOnly(bed);
  expect(findings.map(({ code, severity }) => `${severity} ${code}`)).toEqual(
    findings.map(() => "note foreign"),
  );
  expect(findings.map(({ subject }) => subject)).toEqual(isLoop ? ["blank", ...names] : names);
  expect(await checkAndRepair(bed)).toEqual([...findings]);
  const adopted: string[] = [];
  for (const { advice } of findings) adopted.push(await adopt(bed, advice));
  expect(adopted).toEqual([...(isLoop ? ["disk blank"] : []), ...names.map((name) => `fs ${name}`)]);
  expect(await checkOnly(bed)).toEqual([]);
  expect((await listNames(bed)).sort()).toEqual(
    [...adopted.map((line) => line.split(" ")[1]), "group/web"].sort() as string[],
  );
}

async function findMapped(bed: Bed): Promise<void> {
  const config = bed.writeConfig("map", ["volumeMap: \\([a-z]\\)\\(.*\\) \\1/\\2"]);
  makeForeign(bed, "o");
  const finding = await expectDecision(bed, { code: "foreign", subject: "o" }, config);
  expect(finding.advice).toBe(`moctl ${config} adopt fs NAME, with the NAME that the volume map sends to o`);
}

async function findCopy(bed: Bed): Promise<void> {
  const path = await createVolume(bed, "web");
  const copy = join(bed.location, "copy");
  if (bed.row.backend === "btrfs") run("btrfs", "-q", "subvolume", "snapshot", path, copy);
  else run("cp", "-a", path, copy);
  const finding = await expectDecision(bed, {
    code: "copy",
    severity: "note",
    subject: "copy",
    message: expect.stringContaining('the record of the volume "web"'),
  });
  expect(await listNames(bed)).toEqual(["web"]);
  await adopt(bed, finding.advice);
  expect(await checkOnly(bed)).toEqual([]);
  expect(await listNames(bed)).toEqual(["copy", "web"]);
}

async function findMoved(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const before = await mosaic.createVolume("a/web", { kind: "fs", sizeBytes: SIZE });
  await createVolume(bed, "a/stays");
  renameSync(join(bed.location, "a/web"), join(bed.location, "moved"));
  const finding = await expectDecision(bed, {
    code: "moved",
    severity: "problem",
    subject: "moved",
    message: expect.stringContaining('"a/web"'),
  });
  expect(await listNames(bed)).toEqual(["a/stays"]);
  run("sh", "-c", finding.advice ?? "false");
  expect(await mosaic.getVolume("a/web")).toEqual(before);
  expect(await checkOnly(bed)).toEqual([]);
  expect(await listNames(bed)).toEqual(["a/stays", "a/web"]);
}

/** The parent went with the repair, or by hand: then `mv` finds no place, or one where volumes are not looked for. */
async function findLost(bed: Bed): Promise<void> {
  await createVolume(bed, "a/web");
  renameSync(join(bed.location, "a/web"), join(bed.location, "moved"));
  const [needless, moved] = await checkAndRepair(bed);
  expect([needless, moved]).toMatchObject([
    { code: "needless-parent", isRepaired: true },
    { code: "moved", isRepaired: false },
  ]);
  const finding = await expectDecision(bed, { code: "moved", severity: "problem", subject: "moved" });
  expect(await adopt(bed, finding.advice)).toBe("fs moved");
  expect(await checkOnly(bed)).toEqual([]);
  expect(await listNames(bed)).toEqual(["moved"]);
}

async function findAlien(bed: Bed): Promise<void> {
  const path = await createVolume(bed, "web");
  const record = run("getfattr", "--only-values", "-n", RECORD, path);
  const write = (value: string) => run("setfattr", "-n", RECORD, "-v", value, path);
  for (const junk of ["junk", "{}", record.replace('"version":1', '"version":2')]) {
    write(junk);
    await expectDecision(bed, {
      code: "unreadable-record",
      severity: "problem",
      subject: "web",
      advice: `moctl ${bed.config} adopt fs web`,
    });
  }
  const other = OTHER[bed.row.backend];
  write(record.replace(`"backend":"${bed.row.backend}"`, `"backend":"${other}"`));
  const finding = await expectDecision(bed, {
    code: "copy",
    severity: "note",
    subject: "web",
    message: expect.stringContaining(`the ${other} volume "web"`),
  });
  expect(await listNames(bed)).toEqual([]);
  expect(await adopt(bed, finding.advice)).toBe("fs web");
  expect(await checkOnly(bed)).toEqual([]);
}

/** Makes something without the form of the bed's volumes. */
function makeShapeless(bed: Bed, name: string): string {
  const path = join(bed.location, name);
  if (bed.row.backend === "plain") writeFileSync(path, "a file");
  else mkdirSync(path);
  return path;
}

async function findContradiction(bed: Bed): Promise<void> {
  const path = await createVolume(bed, "web");
  const record = run("getfattr", "--only-values", "-n", RECORD, path);
  clearBed(bed);
  const shapeless = makeShapeless(bed, "web");
  run("setfattr", "-n", RECORD, "-v", record, shapeless);
  const message = expect.stringContaining("but it is not: look at it");
  const problem = { severity: "problem", subject: "web", advice: null } as const;
  await expectDecision(bed, { code: "contradiction", ...problem, message });
  // What can be no volume is not to be adopted, whatever it has for a record.
  run("setfattr", "-n", RECORD, "-v", "junk", shapeless);
  await expectDecision(bed, { code: "unreadable-record", ...problem });
  run("setfattr", "-n", RECORD, "-v", record.replaceAll('"web"', '"other"'), shapeless);
  await expectDecision(bed, { code: "moved", severity: "problem", subject: "web" });
  rmSync(shapeless, { recursive: true });
  symlinkSync("elsewhere", join(bed.location, "link"));
  expect(await checkOnly(bed)).toEqual([]);
  if (bed.row.backend !== "loop") return;
  const image = await createVolume(bed, "web");
  linkSync(image, join(bed.location, "second"));
  const findings = await checkOnly(bed);
  expect(findings).toMatchObject([
    { code: "copy", subject: "second", advice: null },
    { code: "refused", severity: "problem", subject: "web", message: "its image has several hard links" },
  ]);
  expect(await checkAndRepair(bed)).toEqual([...findings]);
}

async function findNeedless(bed: Bed): Promise<void> {
  mkdirSync(join(bed.location, "found"));
  await createVolume(bed, "found/made/deep/web");
  await createVolume(bed, "made/web");
  await createVolume(bed, "full/web");
  for (const path of ["found/made/deep/web", "made/web", "full/web"]) clearVolume(bed, path);
  writeFileSync(join(bed.location, "full/file.tmp"), "x");
  const findings = await checkOnly(bed);
  expect(findings).toMatchObject([
    { code: "needless-parent", severity: "problem", subject: "found/made/deep", isRepairable: true },
    { code: "needless-parent", severity: "problem", subject: "made", isRepairable: true },
  ]);
  expect((await checkAndRepair(bed)).map(({ subject, isRepaired }) => [subject, isRepaired])).toEqual([
    ["found/made/deep", true],
    ["made", true],
  ]);
  expect(readdirSync(bed.location).sort()).toEqual(["found", "full"]);
  expect(await checkOnly(bed)).toEqual([]);
  rmSync(join(bed.location, "full/file.tmp"));
  await expectRepair(bed, { code: "needless-parent", subject: "full" });
}

/** Removes a volume as somebody does who does not know mosaic. */
function clearVolume(bed: Bed, name: string): void {
  const path = join(bed.location, name);
  if (bed.row.backend === "btrfs") run("btrfs", "-q", "subvolume", "delete", path);
  else rmSync(path, { recursive: true });
}
