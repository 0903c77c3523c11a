import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { directSteps, loggedSteps } from "../../src/system/steps.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkOnly } from "../support/checking.ts";
import { expectError } from "../support/expect.ts";
import { FaultySteps } from "../support/faults.ts";
import { clearBed } from "../support/foreign.ts";
import { describeInGuest } from "../support/guest.ts";
import { killAtStep } from "../support/killing.ts";
import { listProjects, projectOf, writeFile } from "../support/quota.ts";

// The numbers of projects: each volume with a size has its own, and nothing is left of it when the volume is gone.

const MIB = 1024 ** 2;
const SIZE = 16 * MIB;
const FS = { kind: "fs", sizeBytes: SIZE } as const;
const MAX_STEPS = 40;

describeInGuest("projects", () => {
  for (const row of BEDS.plain.filter((row) => "quota" in row))
    describeOnBed(
      row,
      (bed) => {
        afterEach(() => clearAll(bed));
        test("each volume has its own, which goes with it", () => areUnique(bed));
        test("a create that is killed leaves none", () => leavesNone(bed, "create"));
        test("a drop that is killed leaves none", () => leavesNone(bed, "drop"));
        test("an empty volume gets one with its first size, unless that fails", () => comesWithSize(bed));
        test("a volume with files and without a size gets none", () => staysWithout(bed));
        test("a directory that is adopted has none", () => adoptsWithout(bed));
        test("a location that belongs to one is refused", () => refusesProject(bed));
        test("what is made inside belongs to it, and moving it out is a copy", () => isInherited(bed));
      },
      1024 * MIB,
    );
});

async function areUnique(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const names = ["a", "b", "group/c", "group/d", "e"];
  await Promise.all(names.map((name) => mosaic.createVolume(name, FS)));
  const numbers = names.map((name) => projectOf(join(bed.location, name)));
  expect(new Set(numbers).size).toBe(names.length);
  for (const number of numbers) expect(Number(number)).toBeWithin(2 ** 24, 2 ** 32 - 1);
  expect([...listProjects(bed.location).keys()].sort()).toEqual([...numbers].sort());
  for (const name of names) writeFileSync(join(bed.location, name, "file"), "content");
  await Promise.all(names.map((name) => mosaic.dropVolume(name)));
  expectNoLimits(bed);
}

/** The next command sweeps what the killed one left; then no limit is without a volume. */
async function leavesNone(bed: Bed, action: "create" | "drop"): Promise<void> {
  const { create, drop } = await listSteps(bed);
  const steps = action === "create" ? create : drop;
  const chosen = action === "create" ? /^(chattr|setquota) / : /^(setquota|rm -r) /;
  const places = [...steps.keys()].filter((index) => chosen.test(steps[index] ?? ""));
  expect(places).toHaveLength(2);
  for (const place of places) {
    for (const mode of ["kill-before", "kill-after"] as const) {
      await using mosaic = await openMosaic(bed.config);
      if (action === "drop") await mosaic.createVolume("web", FS);
      const values = action === "drop" ? { volume: "web" } : { kind: "fs", volume: "web", sizeBytes: SIZE };
      expect(killAtStep(bed.config, mode, place + 1, action, values)).toBe(true);
      await mosaic.createVolume("sweeper", { kind: "fs" });
      for (const { name } of mosaic.listVolumes()) await mosaic.dropVolume(name);
      expect(readdirSync(bed.location)).toEqual([]);
      expectNoLimits(bed);
    }
  }
}

/** The steps of a create and of a drop. */
async function listSteps(bed: Bed): Promise<{ create: string[]; drop: string[] }> {
  const taken: string[] = [];
  const steps = loggedSteps(directSteps, (text) => taken.push(text));
  await using mosaic = await openMosaic(bed.config, { steps });
  await mosaic.createVolume("web", FS);
  const create = taken.splice(0);
  await mosaic.dropVolume("web");
  return { create, drop: taken };
}

async function comesWithSize(bed: Bed): Promise<void> {
  await using calm = await openMosaic(bed.config);
  const before = await calm.createVolume("web", { kind: "fs" });
  for (let at = 1; at < MAX_STEPS; at++) {
    const steps = new FaultySteps(at, "fail");
    await using mosaic = await openMosaic(bed.config, { steps });
    const thrown = await mosaic.resizeVolume("web", SIZE).catch((error) => error);
    if (!steps.fired) {
      expect(thrown).toEqual({ ...before, sizeBytes: SIZE });
      expect(at).toBeGreaterThan(3);
      expect(listProjects(bed.location).get(projectOf(join(bed.location, "web")))?.limitBytes).toBe(SIZE);
      await calm.dropVolume("web");
      expectNoLimits(bed);
      return;
    }
    expect(String(thrown)).toContain("injected before");
    expect(await calm.getVolume("web")).toEqual(before);
    expect(projectOf(join(bed.location, "web"))).toBe("0");
    expectNoLimits(bed);
  }
  throw new Error(`resize took more than ${MAX_STEPS} steps`);
}

async function staysWithout(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const before = await mosaic.createVolume("web", { kind: "fs" });
  writeFileSync(join(bed.location, "web/file"), "content");
  await expectError("UNSUPPORTED", () => mosaic.resizeVolume("web", SIZE));
  expect(await mosaic.getVolume("web")).toEqual(before);
  expectNoLimits(bed);
  expect(projectOf(join(bed.location, "web"))).toBe("0");
}

async function adoptsWithout(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  mkdirSync(join(bed.location, "old"));
  expect(await mosaic.adoptVolume("old", "fs")).toMatchObject({ sizeBytes: null });
  expect(await mosaic.statVolume("old")).toMatchObject({ virtualBytes: null });
  expect(await checkOnly(bed)).toEqual([]);
}

/** A directory with a project of its own cannot be moved to where another one is inherited. */
async function refusesProject(bed: Bed): Promise<void> {
  const location = join(bed.location, "inner");
  mkdirSync(location);
  run("chattr", "-p", "7", "+P", location);
  const config = join(bed.directory, "inner.mos");
  writeFileSync(config, "type: plain\nlocation: ./location/inner\nquota: project\n", { mode: 0o644 });
  await using mosaic = await openMosaic(config);
  const { message } = await expectError("UNSUPPORTED", () => mosaic.createVolume("web", FS));
  expect(message).toContain("belongs to the project 7");
  await mosaic.createVolume("free", { kind: "fs" });
  await mosaic.dropVolume("free");
  expect(readdirSync(location)).toEqual([]);
}

async function isInherited(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  for (const name of ["one", "two"]) await mosaic.createVolume(name, FS);
  const [one, two] = [join(bed.location, "one"), join(bed.location, "two")];
  mkdirSync(join(one, "deep/er"), { recursive: true });
  expect(writeFile(join(one, "deep/er/file"), 2 * SIZE).bytes).toBeWithin(SIZE - MIB / 2, SIZE + 1);
  expect(projectOf(join(one, "deep/er"))).toBe(projectOf(one));
  run("truncate", "-s", String(MIB), join(one, "deep/er/file"));
  run("mv", join(one, "deep"), two);
  expect(existsSync(join(one, "deep"))).toBe(false);
  expect(projectOf(join(two, "deep/er"))).toBe(projectOf(two));
  for (const name of ["one", "two"]) await mosaic.dropVolume(name);
  expectNoLimits(bed);
}

/** What is removed without mosaic leaves its limit. */
function clearAll(bed: Bed): void {
  clearBed(bed);
  for (const number of listProjects(bed.location).keys())
    run("setquota", "-P", number, "0", "0", "0", "0", bed.location);
}

function expectNoLimits(bed: Bed): void {
  const limited = [...listProjects(bed.location)].filter(([, { limitBytes }]) => limitBytes !== null);
  expect(limited).toEqual([]);
}
