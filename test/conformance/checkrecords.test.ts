import { afterEach, expect, test } from "bun:test";
import { linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { ALL_BEDS, BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import {
  adopt,
  checkAndRepair,
  checkOnly,
  createVolume,
  expectDecision,
  listNames,
} from "../support/checking.ts";
import { clearBed } from "../support/foreign.ts";

// What check says of records that do not belong to where they are. Only people can decide what becomes of these, so all
// stays as it is, also with a repair.

const RECORD = "trusted.mosaic.volume";
const OTHER = {
  plain: "btrfs",
  loop: "plain",
  qcow2: "loop",
  ploop: "loop",
  btrfs: "loop",
  dmthin: "loop",
} as const;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("a copy is a note, and no volume", () => findCopy(bed));
    test("a volume that was moved, with the command that moves it back", () => findMoved(bed));
    test("a moved volume without a way back can be adopted", () => findLost(bed));
    test("a record that cannot be read, or that another backend wrote", () => findAlien(bed));
    test("a record on what it does not describe", () => findContradiction(bed));
  });
}

for (const row of BEDS.loop)
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("an image with several hard links is refused", () => findHardLink(bed));
  });

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
  const before = await mosaic.createVolume("a/web", { kind: "fs", sizeBytes: 16 * 1024 ** 2 });
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
  if (["plain", "ploop"].includes(bed.row.backend)) writeFileSync(path, "a file");
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
  await expectDecision(bed, { code: "moved", ...problem });
  rmSync(shapeless, { recursive: true });
  symlinkSync("elsewhere", join(bed.location, "link"));
  expect(await checkOnly(bed)).toEqual([]);
  rmSync(join(bed.location, "link"));
}

async function findHardLink(bed: Bed): Promise<void> {
  const image = await createVolume(bed, "web");
  linkSync(image, join(bed.location, "second"));
  const findings = await checkOnly(bed);
  expect(findings).toMatchObject([
    { code: "copy", subject: "second", advice: null },
    { code: "refused", severity: "problem", subject: "web", message: "its image has several hard links" },
  ]);
  expect(await checkAndRepair(bed)).toEqual([...findings]);
}
