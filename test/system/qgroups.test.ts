import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { closeFd, openDirectory } from "../../src/system/files.ts";
import { limitSubvolume, readQgroup, readQgroupNow, readQuotaState } from "../../src/system/qgroups.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, type BedRow, describeOnBed, run } from "../support/beds.ts";
import { withDirectory } from "../support/directories.ts";
import { expectError } from "../support/expect.ts";
import { listQgroups, switchQuota, writeFile } from "../support/quota.ts";

const MIB = 1024 ** 2;
const rowOf = (quota: "qgroup" | "simple"): BedRow => ({
  name: `${quota} quotas of btrfs`,
  backend: "btrfs",
  filesystem: "btrfs",
  quota,
});

for (const quota of ["qgroup", "simple"] as const)
  describeOnBed(
    rowOf(quota),
    (bed) => {
      test("are on in this mode, or off", () => tellState(bed, quota));
      test("have the numbers that btrfs qgroup show has", () => tellNumbers(bed));
      test("limit a subvolume, also one that is full", () => limitFull(bed));
      test("a limit of another mode, or of what is no subvolume, is an error", () => failLimits(bed));
      test("a plan limits nothing", () => planLimit(bed));
    },
    512 * MIB,
  );

function tellState(bed: Bed, mode: "qgroup" | "simple"): void {
  const read = () => withDirectory(bed.location, readQuotaState);
  expect(read()).toEqual({ mode, isInconsistent: false });
  switchQuota(bed, false);
  expect(read()).toEqual({ mode: undefined, isInconsistent: false });
  expect(withDirectory(bed.location, readQgroup)).toBeUndefined();
  switchQuota(bed, true);
  expect(read()).toEqual({ mode, isInconsistent: false });
}

function tellNumbers(bed: Bed): void {
  const path = makeSubvolume(bed, "numbers");
  const inner = makeSubvolume(bed, "numbers/inner");
  mkdirSync(join(path, "directory"));
  writeFile(join(path, "directory/file"), 3 * MIB);
  run("btrfs", "qgroup", "limit", "33554433", path);
  // What was just written counts.
  const own = withDirectory(path, readQgroupNow);
  expect(own?.referencedBytes).toBeWithin(3 * MIB, 4 * MIB);
  expect(own).toEqual({
    referencedBytes: told(bed, path)?.usedBytes ?? 0,
    exclusiveBytes: own?.referencedBytes ?? 0,
    limitBytes: 33554433,
  });
  // A directory is of the subvolume around it, one inside is of its own.
  expect(withDirectory(join(path, "directory"), readQgroup)).toEqual(own);
  expect(withDirectory(inner, readQgroup)).toEqual({
    referencedBytes: told(bed, inner)?.usedBytes ?? 0,
    exclusiveBytes: told(bed, inner)?.usedBytes ?? 0,
    limitBytes: null,
  });
}

async function limitFull(bed: Bed): Promise<void> {
  const path = makeSubvolume(bed, "full");
  const fd = openDirectory(bed.location);
  try {
    await limitSubvolume(directSteps, path, 4 * MIB, fd);
    expect(writeFile(join(path, "file"), 8 * MIB).words).toContain("Disk quota exceeded");
    const { referencedBytes = 0 } = withDirectory(path, readQgroupNow) ?? {};
    expect(referencedBytes).toBeWithin(3.5 * MIB, 4 * MIB + 1);
    for (const limitBytes of [referencedBytes, 1, Number.MAX_SAFE_INTEGER, null, 5 * MIB, null, null]) {
      await limitSubvolume(directSteps, path, limitBytes, fd);
      expect(withDirectory(path, readQgroup)).toMatchObject({ limitBytes });
      expect(told(bed, path)?.limitBytes).toBe(limitBytes);
    }
    expect(writeFile(join(path, "file"), 8 * MIB)).toEqual({ bytes: 8 * MIB, words: "" });
  } finally {
    closeFd(fd);
  }
}

async function failLimits(bed: Bed): Promise<void> {
  const path = makeSubvolume(bed, "unlimited");
  const fd = openDirectory(bed.location);
  try {
    switchQuota(bed, false);
    await expectError("TOOL_FAILED", () => limitSubvolume(directSteps, path, MIB, fd));
    switchQuota(bed, true);
    await expectError("TOOL_FAILED", () => limitSubvolume(directSteps, join(bed.location, "none"), MIB, fd));
  } finally {
    switchQuota(bed, true);
    closeFd(fd);
  }
}

async function planLimit(bed: Bed): Promise<void> {
  const path = makeSubvolume(bed, "planned");
  const lines: string[] = [];
  await limitSubvolume(
    plannedSteps((line) => lines.push(line)),
    path,
    MIB,
    -1,
  );
  expect(lines).toEqual([`btrfs qgroup limit ${MIB} ${path}`]);
  expect(told(bed, path)?.limitBytes).toBeNull();
}

function makeSubvolume(bed: Bed, name: string): string {
  const path = join(bed.location, name);
  run("btrfs", "-q", "subvolume", "create", path);
  return path;
}

function told(bed: Bed, path: string) {
  return listQgroups(bed.location).get(run("btrfs", "inspect-internal", "rootid", path).trim());
}
