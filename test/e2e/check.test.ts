import { afterEach, expect, test } from "bun:test";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckFinding, Feature } from "../../src/api/results.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { createVolume } from "../support/checking.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { expectSame, MOCTL, moctl, parseOneObject, succeed, succeedJson } from "./moctl.ts";
import { takePicture } from "./picture.ts";
import { type Ended, runProgram } from "./program.ts";

// The action check of the program: what it prints, its exit status, and that nothing changes unless it is asked to.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => {
      Bun.spawnSync(["chattr", "-R", "-i", bed.location], { stderr: "ignore" });
      clearBed(bed);
    });
    test("nothing wrong is exit 0, also with volumes in use and notes", () => checkClean(bed, row.features));
    test("a problem is exit 10, and what is printed are the findings and their numbers", () =>
      checkProblems(bed));
    test("--repair mends and says so, and a plan of it changes nothing", () => repairProblems(bed));
    test("a repair that fails is exit 10 and says why", () => failRepair(bed));
    test("the commands that are told run in a shell, whatever the paths", () => runAdvice(bed));
  });
}

interface Report {
  readonly problems: number;
  readonly findings: readonly CheckFinding[];
}

/** Runs a check for people and one for programs, which must agree and change nothing. */
function check(bed: Bed, exit: number): Report {
  const before = takePicture(bed.directory);
  const people = moctl([bed.config, "check"]);
  const program = moctl([bed.config, "check", "--json"]);
  expectSame(bed.directory, before);
  for (const ended of [people, program])
    expect({ ...ended, stdout: "" }).toEqual({ exit, stdout: "", stderr: "" });
  const report = parseOneObject(program.stdout) as unknown as Report;
  expectLines(people, report);
  return report;
}

/** One line for each finding in their order, and the numbers at the end. */
function expectLines({ stdout }: Ended, { problems, findings }: Report): void {
  const lines = stdout.trimEnd().split("\n");
  const last = lines.pop() ?? "";
  expect(lines).toHaveLength(findings.length);
  const states = { problem: 0, repaired: 0, note: 0 };
  for (const [index, { code, subject, message, severity, isRepaired }] of findings.entries()) {
    const state = isRepaired ? "repaired" : severity;
    states[state]++;
    expect(lines[index]).toStartWith(`${state}: ${code}: ${subject}: ${message}`);
  }
  expect(last).toBe(`problems: ${states.problem}, repaired: ${states.repaired}, notes: ${states.note}`);
  expect(problems).toBe(states.problem);
}

function makeLeftover(bed: Bed, name: string): string {
  run("install", "-d", "-m", "700", join(bed.location, ".mosaic"));
  makeForeign(bed, `.mosaic/${name}/volume`, 8 * 1024 ** 2);
  return join(bed.location, ".mosaic", name);
}

/** A left-over, a parent without a volume, and a foreign object. */
async function makeProblems(bed: Bed): Promise<void> {
  await createVolume(bed, "old/web");
  makeLeftover(bed, "x");
  makeForeign(bed, "foreign");
  renameSync(join(bed.location, "old/web"), join(bed.location, ".mosaic/x/moved"));
}

async function checkClean(bed: Bed, features: readonly Feature[]): Promise<void> {
  expect(check(bed, 0)).toEqual({ problems: 0, findings: [] });
  expect(succeed(bed.config, "check")).toBe("problems: 0, repaired: 0, notes: 0\n");
  const mountPoint = bed.makeMountPoint();
  for (const name of ["web", "a/web"]) await createVolume(bed, name);
  succeed(bed.config, "mount", "web", mountPoint);
  if (features.includes("bdev")) succeed(bed.config, "attach", "a/web");
  if (features.includes("clone")) succeed(bed.config, "clone", "web", "b/copy");
  makeForeign(bed, "old");
  expect(check(bed, 0)).toMatchObject({ problems: 0, findings: [{ code: "foreign", severity: "note" }] });
  expect(succeed(bed.config, "check", "--repair")).toEndWith("problems: 0, repaired: 0, notes: 1\n");
}

async function checkProblems(bed: Bed): Promise<void> {
  await makeProblems(bed);
  const { problems, findings } = check(bed, 10);
  expect(problems).toBe(2);
  expect(findings.map(({ code, subject }) => `${code} ${subject}`)).toEqual([
    `leftover ${bed.location}/.mosaic/x`,
    "foreign foreign",
    "needless-parent old",
  ]);
  const { stdout } = moctl([bed.config, "check"]);
  expect(stdout.match(/\(--repair mends it\)$/gm)).toHaveLength(2);
  expect(stdout).toContain(`(moctl ${bed.config} adopt fs foreign)\n`);
}

async function repairProblems(bed: Bed): Promise<void> {
  await makeProblems(bed);
  const before = takePicture(bed.directory);
  const planned = succeed(bed.config, "check", "--repair", "--dry-run").trimEnd().split("\n");
  expect(succeedJson(bed.config, "check", "--repair", "--dry-run")).toEqual({ steps: planned });
  expectSame(bed.directory, before);
  expect(planned.some((step) => step.endsWith(`${bed.location}/.mosaic/x/volume`))).toBe(true);
  expect(planned).toContain(`rmdir ${bed.location}/old`);
  const { exit, stdout, stderr } = moctl([bed.config, "check", "--repair", "--json"]);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" });
  const { problems, findings } = parseOneObject(stdout) as unknown as Report;
  // The left-over goes with the parent that its volume had.
  expect(findings.map(({ code, isRepaired }) => [code, isRepaired])).toEqual([
    ["leftover", true],
    ["foreign", false],
  ]);
  expect(problems).toBe(0);
  expect(check(bed, 0).findings).toHaveLength(1);
  await createVolume(bed, "old/web");
  run("mv", join(bed.location, "old/web"), join(bed.location, ".mosaic.drop"));
  const repaired = moctl([bed.config, "check", "--repair"]);
  expect(repaired).toMatchObject({ exit: 0, stderr: "" });
  expect(repaired.stdout).toMatch(/^repaired: leftover: .*\n(.*\n)*problems: 0, repaired: 1, notes: 1\n$/);
}

function failRepair(bed: Bed): void {
  const stuck = makeLeftover(bed, "stuck");
  run("chattr", "+i", join(stuck, "volume"));
  const people = moctl([bed.config, "check", "--repair"]);
  expect(people).toMatchObject({ exit: 10, stderr: "" });
  expect(people.stdout).toMatch(
    /^problem: leftover: .*; the repair failed: .*\nproblems: 1, repaired: 0, notes: 0\n$/,
  );
  const { exit, stdout } = moctl([bed.config, "check", "--repair", "--json"]);
  const { findings } = parseOneObject(stdout) as unknown as Report;
  expect({ exit, findings }).toMatchObject({
    exit: 10,
    findings: [{ subject: stuck, isRepaired: false, error: { code: "PERMISSION_DENIED" } }],
  });
  expect(moctl([bed.config, "check"]).exit).toBe(10);
}

async function runAdvice(bed: Bed): Promise<void> {
  const directory = join(bed.directory, "my vms");
  mkdirSync(directory, { recursive: true });
  const config = join(directory, "it's.mos");
  writeFileSync(config, `type: ${bed.row.backend}\nlocation: ${bed.location}\n`, { mode: 0o644 });
  await createVolume(bed, "a/moved");
  await createVolume(bed, "a/stays");
  makeForeign(bed, "a/old");
  renameSync(join(bed.location, "a/moved"), join(bed.location, "elsewhere"));
  const { exit, stdout } = moctl([config, "check", "--json"]);
  expect(exit).toBe(10);
  const { findings } = parseOneObject(stdout) as unknown as Report;
  expect(findings.map(({ code }) => code).sort()).toEqual(["foreign", "moved"]);
  for (const { advice } of findings) {
    const line = `moctl() { "$MOCTL" "$@"; }; ${advice}`;
    const ended = runProgram(["sh", "-c", line], { env: { MOCTL } });
    expect({ advice, ...ended }).toEqual({ advice, exit: 0, stdout: "", stderr: "" });
  }
  expect(check(bed, 0)).toEqual({ problems: 0, findings: [] });
  const { volumes } = succeedJson(bed.config, "list") as { volumes: { name: string }[] };
  expect(volumes.map(({ name }) => name)).toEqual(["a/moved", "a/old", "a/stays"]);
}
