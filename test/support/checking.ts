import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckFinding, CheckReport } from "../../src/api/results.ts";
import { openMosaic } from "../../src/index.ts";
import { type Bed, run } from "./beds.ts";
import { snapshotTree } from "./snapshot.ts";

// Checks of a bed by the library, and the proof that one without a repair changed nothing.

/** What must be the same after a check: the tree, the loop devices with their flags, and the mounts with their options. */
export function takeState(bed: Bed): object {
  const isOfBed = (line: string) => line.includes(`${bed.directory}/`);
  const columns = "NAME,BACK-INO,RO,AUTOCLEAR,BACK-FILE";
  return {
    tree: snapshotTree(bed.location),
    devices: run("losetup", "--list", "--raw", "-n", "-O", columns).split("\n").filter(isOfBed),
    mounts: readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(isOfBed),
  };
}

/** What a check without a repair finds; it must leave everything as it was. */
export async function checkOnly(bed: Bed, config: string = bed.config): Promise<readonly CheckFinding[]> {
  const before = takeState(bed);
  const report = await runCheck(config, false);
  expect(takeState(bed)).toEqual(before);
  expect(report.findings.filter(({ isRepaired, error }) => isRepaired || error !== null)).toEqual([]);
  return report.findings;
}

/** What a check with a repair finds. */
export async function checkAndRepair(
  bed: Bed,
  config: string = bed.config,
): Promise<readonly CheckFinding[]> {
  return (await runCheck(config, true)).findings;
}

/** Finds the one thing that is wrong, mends it, and finds nothing any more. */
export async function expectRepair(bed: Bed, finding: Partial<CheckFinding>): Promise<void> {
  expect(await checkOnly(bed)).toEqual([expect.objectContaining({ ...finding, isRepairable: true })]);
  expect(await checkAndRepair(bed)).toEqual([
    expect.objectContaining({ ...finding, isRepaired: true, error: null }),
  ]);
  expect(await checkOnly(bed)).toEqual([]);
}

/** Finds this one thing and nothing else, which stays as it is also with a repair; gives it, with and without a repair. */
export async function expectDecision(
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
export async function adopt(bed: Bed, advice: string | null): Promise<string> {
  const words = run("sh", "-c", `for word in ${advice}; do echo "$word"; done`).trimEnd().split("\n");
  const [program, config, action, kind, name] = words;
  expect([program, config, action]).toEqual(["moctl", bed.config, "adopt"]);
  await using mosaic = await openMosaic(config ?? "");
  await mosaic.adoptVolume(name ?? "", kind as "fs" | "disk");
  return `${kind} ${name}`;
}

/** The names of all volumes. */
export async function listNames(bed: Bed): Promise<string[]> {
  await using mosaic = await openMosaic(bed.config);
  return mosaic.listVolumes().map(({ name }) => String(name));
}

/** Makes a small volume of kind fs; gives its path. */
export async function createVolume(bed: Bed, name: string, config: string = bed.config): Promise<string> {
  await using mosaic = await openMosaic(config);
  const { storedName } = await mosaic.createVolume(name, { kind: "fs", sizeBytes: 16 * 1024 ** 2 });
  return join(bed.location, storedName);
}

async function runCheck(config: string, repair: boolean): Promise<CheckReport> {
  await using mosaic = await openMosaic(config);
  const report = await mosaic.check({ repair });
  const left = report.findings.filter(({ severity, isRepaired }) => severity === "problem" && !isRepaired);
  expect(report.problems).toBe(left.length);
  return report;
}
