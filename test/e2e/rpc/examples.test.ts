import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed } from "../../support/beds.ts";
import { clearBed } from "../../support/foreign.ts";
import { MOCTL } from "../moctl.ts";
import { runProgram } from "../program.ts";

// The clients of doc/examples do what they show.

const EXAMPLES = join(import.meta.dir, "../../../doc/examples");

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));
  test("the client in Python", () => runPython(bed));
  test("the client in TypeScript", () => runTypeScript(bed));
});

function runExample(bed: Bed, argv: readonly string[]) {
  const env = { MOSAIC_RUN_DIR: join(bed.directory, "run") };
  return runProgram([...argv, bed.config, MOCTL], { env });
}

function runPython(bed: Bed): void {
  const { exit, stdout, stderr } = runExample(bed, ["python3", join(EXAMPLES, "client.py")]);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" });
  expect(stdout.split("\n")).toEqual([
    "created: example 67108864",
    "event: created example",
    "failed: ALREADY_EXISTS ['kind']",
    "dropped: True",
    "dropped again: False",
    "",
  ]);
}

function runTypeScript(bed: Bed): void {
  const { exit, stdout, stderr } = runExample(bed, [process.execPath, join(EXAMPLES, "client.ts")]);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" });
  const lines = stdout.trimEnd().split("\n");
  expect(lines.slice(0, 2).sort()).toEqual(["event: created one", "event: created two"]);
  expect(lines.slice(2)).toEqual(["volumes: one, two", "failed: ALREADY_EXISTS"]);
}
