import { afterEach, expect, test } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bed, type BedRow, describeOnBed, enableQuota, needsSize, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { askTool, QUOTA_ROWS, writeFile } from "../support/quota.ts";
import { expectRefusal, moctl, succeed, succeedJson } from "./moctl.ts";
import { runProgram } from "./program.ts";

// Quotas as the program shows them: a size that is kept, and a location whose own quota is used up.

const MIB = 1024 ** 2;

for (const row of QUOTA_ROWS)
  describeOnBed(
    row,
    (bed) => {
      afterEach(() => clearBed(bed));
      test("sizes are made, shown, changed and refused", () => changeSizes(bed));
      test("a plan names the limit and sets none", () => planSizes(bed));
    },
    1024 * MIB,
  );

for (const backend of ["plain", "btrfs", "loop"] as const) {
  const row: BedRow = { name: `${backend} where a quota is used up`, backend, filesystem: "btrfs" };
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("create and drop are NO_SPACE and change nothing, and work again with some room", () =>
      dropAtLimit(bed));
    if (backend !== "loop") return;
    for (const [filesystem, size] of [
      ["ext4", "64m"],
      ["xfs", "300m"],
      ["btrfs", "128m"],
    ] as const)
      test(`a create that meets the limit in mkfs.${filesystem} is NO_SPACE, and undone`, () =>
        runOut(bed, filesystem, size));
  });
}

function changeSizes(bed: Bed): void {
  expect(succeed(bed.config, "info")).toMatch(/^features:.* volsize\b/m);
  succeed(bed.config, "create", "fs", "web", "16m");
  expect(succeedJson(bed.config, "list").volumes).toMatchObject([{ name: "web", sizeBytes: 16 * MIB }]);
  const file = join(bed.location, "web/file");
  expect(writeFile(file, 32 * MIB).words).toContain("Disk quota exceeded");
  expect(succeed(bed.config, "resize", "web", "20m")).toBe("");
  expect(askTool(bed, "web")?.limitBytes).toBe(20 * MIB);
  const args = [bed.config, "resize", "web"];
  expectRefusal(bed.directory, [...args, "18m"], { exit: 2, code: "INVALID_ARGUMENT", says: "--shrink" });
  const tooSmall = { exit: 1, code: "TOOL_FAILED", says: /the smallest size is \d+ bytes/ };
  const { details } = expectRefusal(bed.directory, [...args, "4m", "--shrink"], tooSmall);
  expect(succeed(...args, String(details.smallestBytes), "--shrink")).toBe("");
  expect(askTool(bed, "web")?.limitBytes).toBe(Number(details.smallestBytes));
  expectRefusal(bed.directory, [bed.config, "resize", "none", "1g"], { exit: 3, code: "NOT_FOUND" });
  succeed(bed.config, "drop", "web");
}

function planSizes(bed: Bed): void {
  succeed(bed.config, "create", "fs", "web", "16m");
  const lines = moctl(["--dry-run", bed.config, "resize", "web", "20m"]);
  expect({ exit: lines.exit, text: lines.stdout + lines.stderr }).toEqual({
    exit: 0,
    text: expect.stringContaining(`btrfs qgroup limit ${20 * MIB} ${join(bed.location, "web")}`),
  });
  expect(askTool(bed, "web")?.limitBytes).toBe(16 * MIB);
}

/** A location of 64 MiB inside the bed; gives its config. */
function makeInner(bed: Bed, lines: readonly string[] = []): string {
  enableQuota(bed.location, "qgroup");
  const inner = innerOf(bed);
  run("btrfs", "-q", "subvolume", "create", inner);
  run("btrfs", "qgroup", "limit", "64M", inner);
  const config = join(bed.directory, "inner.mos");
  const text = [`type: ${bed.row.backend}`, "location: ./location/inner", ...lines, ""].join("\n");
  writeFileSync(config, text, { mode: 0o644 });
  return config;
}

const innerOf = (bed: Bed) => join(bed.location, "inner");

/** Through the directory above: a full subvolume has no room for that. */
function limitInner(bed: Bed, limitBytes: number): void {
  const number = run("btrfs", "inspect-internal", "rootid", innerOf(bed)).trim();
  run("btrfs", "qgroup", "limit", String(limitBytes), `0/${number}`, bed.location);
}

/** Takes all that the quota allows, to the last directory. */
function fill(bed: Bed): void {
  expect(writeFile(join(innerOf(bed), "fill"), 128 * MIB).words).toContain("Disk quota exceeded");
  const line = 'cd "$1"; i=0; while mkdir -p more/$i; do i=$((i + 1)); done';
  runProgram(["sh", "-c", `{ ${line}; } 2>/dev/null`, "sh", innerOf(bed)]);
  expect(runProgram(["mkdir", join(innerOf(bed), "one-more")]).exit).toBe(1);
}

function dropAtLimit(bed: Bed): void {
  const config = makeInner(bed, bed.row.backend === "loop" ? ["default_fs: ext4"] : []);
  const size = needsSize(bed.row) ? ["16m"] : [];
  for (const name of ["a/web", "db"]) succeed(config, "create", "fs", name, ...size);
  const before = succeed(config, "list", "--json");
  fill(bed);
  const refusal = { exit: 7, code: "NO_SPACE", says: /quota is used up.*raise it/, times: false };
  for (const name of ["new", "a/new", "b/c/new"])
    expectRefusal(bed.directory, [config, "create", "fs", name, ...size], refusal);
  // At the limit btrfs lets files be removed, and nothing be renamed: there is no way to drop a volume whole or not at all.
  expectRefusal(bed.directory, [config, "drop", "a/web"], { ...refusal, says: /Cannot drop.*raise it/ });
  expect(succeed(config, "list", "--json")).toBe(before);
  limitInner(bed, 80 * MIB);
  succeed(config, "drop", "a/web");
  expect(listWithout(bed)).toEqual(["db"]);
  rmSync(join(innerOf(bed), "fill"));
  fill(bed);
  rmSync(join(innerOf(bed), "fill"));
  succeed(config, "drop", "db");
  expect(listWithout(bed)).toEqual([]);
}

/** Room for directories and a few blocks, not for a filesystem. */
function runOut(bed: Bed, filesystem: string, size: string): void {
  const config = makeInner(bed, [`default_fs: ${filesystem}`]);
  fill(bed);
  rmSync(join(innerOf(bed), "more"), { recursive: true, force: true });
  limitInner(bed, 64 * MIB + 512 * 1024);
  // What mkfs.ext4 writes is little, and fits.
  const says = filesystem === "ext4" ? "quota is used up" : `mkfs.${filesystem}`;
  const refusal = { exit: 7, code: "NO_SPACE", says, times: false };
  expectRefusal(bed.directory, [config, "create", "fs", "new", size], refusal);
  expect(listWithout(bed)).toEqual([]);
}

/** What is in the location beside that which fills it. */
function listWithout(bed: Bed): string[] {
  return readdirSync(innerOf(bed)).filter((name) => !["fill", "more"].includes(name));
}
