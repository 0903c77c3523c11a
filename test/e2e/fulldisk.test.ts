import { afterEach, expect, test } from "bun:test";
import { readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, type Bed, describeOnBed, needsSize } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { createFs, expectRefusal, succeed, succeedJson } from "./moctl.ts";
import { runProgram } from "./program.ts";

// On a full disk nothing is made, nothing is lost, and a drop works, also where not even a directory can be made.

const MIB = 1024 ** 2;
const SIZES = { ext4: 64 * MIB, xfs: 320 * MIB } as const;

// btrfs keeps room for its own metadata, so there a full disk is not one to a directory.
for (const row of ALL_BEDS) {
  if (row.filesystem === "btrfs" || row.filesystem === "thin-pool") continue;
  describeOnBed(
    row,
    (bed) => {
      afterEach(() => clearBed(bed));
      test("create is NO_SPACE and leaves nothing, drop works", () => dropOnFullDisk(bed));
      if (row.name !== "loop on ext4") return;
      for (const [filesystem, size] of [
        ["ext4", "64m"],
        ["xfs", "300m"],
      ] as const)
        test(`a create that runs out of space in mkfs.${filesystem} is NO_SPACE, and undone`, () =>
          runOut(bed, filesystem, size));
      // It says "Input/output error" of a write that came to no more than a part.
      test("a create that runs out of space in mkfs.btrfs is NO_SPACE, and undone", () =>
        runOut(bed, "btrfs", "128m"));
    },
    SIZES[row.filesystem],
  );
}

/** Fills the bed to its last block and last directory. */
function fill(bed: Bed): void {
  const line =
    'cd "$1"; dd if=/dev/zero of=fill bs=1M; dd if=/dev/zero of=fill2 bs=512; i=0; while mkdir -p more/$i; do i=$((i + 1)); done';
  runProgram(["sh", "-c", `{ ${line}; } 2>/dev/null`, "sh", bed.location]);
  expect(runProgram(["mkdir", join(bed.location, "one-more")]).exit).toBe(1);
}

function dropOnFullDisk(bed: Bed): void {
  for (const name of ["a/web", "db"]) createFs(bed, name);
  const before = succeed(bed.config, "list", "--json");
  fill(bed);
  const size = needsSize(bed.row) ? ["16m"] : [];
  const refusal = { exit: 7, code: "NO_SPACE", says: "Cannot create", times: false };
  for (const name of ["new", "a/new", "b/c/new"])
    expectRefusal(bed.directory, [bed.config, "create", "fs", name, ...size], refusal);
  expect(succeed(bed.config, "list", "--json")).toBe(before);
  succeed(bed.config, "drop", "a/web");
  expect(succeedJson(bed.config, "list").volumes).toMatchObject([{ name: "db" }]);
  expect(listWithout(bed)).toEqual(["db"]);
  fill(bed);
  succeed(bed.config, "drop", "db");
  expect(listWithout(bed)).toEqual([]);
}

/** Room for directories and a few blocks, not for a filesystem. */
function runOut(bed: Bed, filesystem: string, size: string): void {
  fill(bed);
  rmSync(join(bed.location, "more"), { recursive: true, force: true });
  truncateSync(join(bed.location, "fill"), statSync(join(bed.location, "fill")).size - 64 * 1024);
  const config = bed.writeConfig("other", [`default_fs: ${filesystem}`]);
  const refusal = { exit: 7, code: "NO_SPACE", says: `mkfs.${filesystem}`, times: false };
  expectRefusal(bed.directory, [config, "create", "fs", "new", size], refusal);
  expect(listWithout(bed)).toEqual([]);
}

/** What is in the location beside that which fills it. */
function listWithout(bed: Bed): string[] {
  return readdirSync(bed.location).filter((name) => !["fill", "fill2", "more"].includes(name));
}
