import { afterEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { createFs, expectRefusal, moctl, parseOneObject, succeed, succeedJson } from "./moctl.ts";
import { takePicture } from "./picture.ts";

// adopt --from: a saved `list --json` gives volumes back the records that a copy lost.

const RECORD = "trusted.mosaic.volume";

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("records are restored from a saved list", () => restoreRecords(bed));
    test("what is no saved list, or one of another mosaic, is refused", () => refuseLists(bed));
  });
}

function restoreRecords(bed: Bed): void {
  const names = ["a/one", "a/two", "three"];
  for (const name of names) createFs(bed, name);
  const list = join(bed.directory, "list.json");
  writeFileSync(list, succeed(bed.config, "list", "--json"));
  const before = takePicture(bed.directory).attributes;
  for (const name of names) run("setfattr", "-x", RECORD, join(bed.location, name));
  expect(succeed(bed.config, "list")).toBe("");
  expect(succeedJson(bed.config, "adopt", "--from", list)).toEqual({
    adopted: names,
    unchanged: [],
    failed: [],
  });
  expect(takePicture(bed.directory).attributes).toEqual(before);
  expect(succeed(bed.config, "list", "--json")).toBe(readFileSync(list, "utf8"));
  expect(succeed(bed.config, "adopt", "--from", list)).toBe("adopted: 0, unchanged: 3, failed: 0\n");
  for (const name of names.slice(1)) run("setfattr", "-x", RECORD, join(bed.location, name));
  run("mv", join(bed.location, "a/two"), join(bed.location, "gone"));
  const partly = moctl([bed.config, "adopt", "--from", list, "--json"]);
  expect([partly.exit, partly.stderr]).toEqual([3, ""]);
  expect(parseOneObject(partly.stdout)).toMatchObject({
    adopted: ["three"],
    unchanged: ["a/one"],
    failed: [{ name: "a/two", error: { code: "NOT_FOUND" } }],
  });
  for (const name of ["a/one", "three"]) succeed(bed.config, "drop", name);
}

function refuseLists(bed: Bed): void {
  createFs(bed, "web");
  const saved = succeedJson(bed.config, "list") as { volumes: Record<string, unknown>[] };
  run("setfattr", "-x", RECORD, join(bed.location, "web"));
  const list = join(bed.directory, "list.json");
  const change = (fields: Record<string, unknown>) =>
    JSON.stringify({ volumes: [{ ...saved.volumes[0], ...fields }] });
  for (const text of [
    "",
    "{",
    "[]",
    "null",
    "{}",
    '{"volumes":{}}',
    '{"volumes":[1]}',
    '{"volumes":[null]}',
    '{"volumes":[{}]}',
    change({ id: "x" }),
    change({ name: "../x" }),
    change({ kind: "tape" }),
    change({ sizeBytes: "1" }),
  ]) {
    writeFileSync(list, text);
    expectRefusal(bed.directory, [bed.config, "adopt", "--from", list], {
      exit: 2,
      code: "INVALID_ARGUMENT",
    });
  }
  expectRefusal(bed.directory, [bed.config, "adopt", "--from", join(bed.directory, "missing")], {
    exit: 2,
    code: "INVALID_ARGUMENT",
    says: "missing",
  });
  const before = takePicture(bed.directory);
  for (const fields of [{ backend: "zfs" }, { storedName: "elsewhere" }]) {
    writeFileSync(list, change(fields));
    const { exit, stdout } = moctl([bed.config, "adopt", "--from", list, "--json"]);
    expect(exit).toBe(2);
    expect(parseOneObject(stdout)).toMatchObject({
      adopted: [],
      failed: [{ name: "web", error: { code: "INVALID_ARGUMENT" } }],
    });
  }
  expect(takePicture(bed.directory).attributes).toEqual(before.attributes);
}
