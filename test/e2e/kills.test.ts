import { afterEach, expect, test } from "bun:test";
import { existsSync, linkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, type Bed, describeOnBed, needsSize, run } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { makeRandom } from "../support/random.ts";
import { createFs, startMoctl, succeed, succeedJson } from "./moctl.ts";

// The program is killed at any moment: what it was at is done or undone, and the next command sweeps what is left.

const ROUNDS = 40;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    if (row.backend === "loop")
      test("the first name of an image that a power loss brought back is swept", () => sweepFirstName(bed));
    test(`${ROUNDS} kills at random moments leave every volume whole`, () => killAtRandom(bed));
  });
}

async function killAtRandom(bed: Bed): Promise<void> {
  const random = makeRandom(1);
  const mountPoint = bed.makeMountPoint();
  const start = performance.now();
  createFs(bed, "base");
  const longestMs = performance.now() - start;
  succeed(bed.config, "mount", "base", mountPoint);
  let before = listNames(bed);
  let killed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const args = chooseAction(bed, before, random);
    if (await runAndKill(bed, args, random() * longestMs)) killed++;
    // The filesystem of a clone's origin is not left frozen.
    writeFileSync(join(mountPoint, "round"), String(round), { flush: true });
    await sweep(bed);
    const after = listNames(bed);
    expectOneChange(args, before, after);
    before = after;
  }
  expect(killed).toBeGreaterThan(ROUNDS / 8);
  succeed(bed.config, "umount", "base", mountPoint);
  for (const name of before) useVolume(bed, name, mountPoint);
  expect(run("losetup", "-n", "-O", "BACK-FILE")).not.toContain(`${bed.location}/`);
}

function listNames(bed: Bed): string[] {
  return (succeedJson(bed.config, "list").volumes as { name: string }[]).map(({ name }) => name);
}

function chooseAction(bed: Bed, names: readonly string[], random: () => number): string[] {
  const name = `a/${"xyz"[Math.floor(random() * 3)]}`;
  if (names.includes(name)) return ["drop", name];
  if (bed.row.filesystem !== "ext4" && random() < 0.5) return ["clone", "base", name];
  return ["create", "fs", name, ...(needsSize(bed.row) ? ["16m"] : [])];
}

/** True when the program was killed before it ended. */
async function runAndKill(bed: Bed, args: readonly string[], afterMs: number): Promise<boolean> {
  const child = startMoctl([bed.config, ...args]);
  await Promise.race([child.exited, Bun.sleep(afterMs)]);
  child.kill("SIGKILL");
  const { exit, stderr } = await child.ended;
  expect({ args, exit, stderr }).toEqual({ args, exit: exit === 0 ? 0 : null, stderr: "" });
  return exit === null;
}

/** A tool that outlives its moctl still works on what it was given, so the sweep may have to come again. */
async function sweep(bed: Bed): Promise<void> {
  await until("the sweep", () => {
    createFs(bed, "sweep");
    succeed(bed.config, "drop", "sweep");
    return !existsSync(join(bed.location, ".mosaic"));
  });
}

function expectOneChange(args: readonly string[], before: readonly string[], after: readonly string[]): void {
  const name = (args[0] === "create" ? args[2] : args.at(-1)) ?? "?";
  const possible = [
    before,
    args[0] === "drop" ? before.filter((other) => other !== name) : [...before, name],
  ];
  expect(possible.map((names) => [...names].sort().join())).toContain([...after].sort().join());
}

function useVolume(bed: Bed, name: string, mountPoint: string): void {
  succeed(bed.config, "mount", name, mountPoint);
  writeFileSync(join(mountPoint, "data"), "text");
  succeed(bed.config, "umount", name, mountPoint);
  succeed(bed.config, "drop", name);
}

function sweepFirstName(bed: Bed): void {
  createFs(bed, "web");
  run("install", "-d", "-m", "700", join(bed.location, ".mosaic"), join(bed.location, ".mosaic/operation"));
  linkSync(join(bed.location, "web"), join(bed.location, ".mosaic/operation/volume"));
  createFs(bed, "next");
  expect(existsSync(join(bed.location, ".mosaic"))).toBe(false);
  expect(listNames(bed)).toEqual(["next", "web"]);
  for (const name of ["next", "web"]) succeed(bed.config, "drop", name);
}
