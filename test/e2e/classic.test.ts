import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BackendName } from "../../src/backends/registry.ts";
import { ALL_BEDS, type Bed, describeOnBed, needsSize } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { MOCTL, succeed } from "./moctl.ts";
import { runProgram } from "./program.ts";

// Two scenarios in the words of the first Mosaic: sh, moctl and what every Unix has.

const SCRIPT = join(import.meta.dir, "classic.sh");
const MAP = "\\([a-z]\\)\\([^_]*\\)_\\(.*\\) \\1/\\2/\\3";
/** The first Mosaic knew the first three. */
const TYPES: Record<BackendName, { type: string; map: string; keeps: string }> = {
  plain: { type: "plain", map: MAP, keeps: "t/est/volume" },
  loop: { type: "fsimg", map: MAP, keeps: "t/est/volume" },
  btrfs: { type: "btrfs", map: "\\([a-z]\\)\\([a-z][a-z]\\)\\(.*\\) \\1/\\2/\\3", keeps: "t/es/t_volume" },
  qcow2: { type: "qcow2", map: MAP, keeps: "t/est/volume" },
  ploop: { type: "ploop", map: MAP, keeps: "t/est/volume" },
  dmthin: { type: "thin", map: MAP, keeps: "t/est/volume" },
};

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("the basic scenario", () => play(bed, "basic"));
    if (row.features.some((feature) => feature === "clone"))
      test("the clone scenario", () => play(bed, "clone"));
    test("a volume is where the map says", () => {
      const config = writeClassicConfig(bed);
      succeed(config, "new", "fs", "test_volume", ...(needsSize(row) ? ["16m"] : []));
      expect(existsSync(join(bed.location, TYPES[row.backend].keeps))).toBe(true);
      succeed(config, "drop", "test_volume");
    });
  });
}

function writeClassicConfig(bed: Bed): string {
  const { type, map } = TYPES[bed.row.backend];
  const path = bed.writeConfig("classic", [`volumeMap: ${map}`]);
  writeFileSync(path, readFileSync(path, "utf8").replace(/^type: .*/, `type: ${type}`));
  return path;
}

function play(bed: Bed, scenario: string): void {
  const work = join(bed.directory, scenario);
  mkdirSync(work);
  const argv = [SCRIPT, scenario, MOCTL, writeClassicConfig(bed), bed.location, work];
  const { exit, stdout } = runProgram(argv);
  expect({ exit, stdout }).toEqual({ exit: 0, stdout: `done: ${scenario}\n` });
  for (const name of readdirSync(work)) rmdirSync(join(work, name));
  expect(readdirSync(bed.location)).toEqual([]);
}
