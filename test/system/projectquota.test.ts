import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { closeFd, openDirectory } from "../../src/system/files.ts";
import {
  hasProjectQuota,
  isOwnProject,
  limitProject,
  readProject,
  setProject,
} from "../../src/system/projectquota.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, type BedRow, describeOnBed, run } from "../support/beds.ts";
import { withDirectory } from "../support/directories.ts";
import { expectError } from "../support/expect.ts";
import { projectOf } from "../support/quota.ts";

// Where project quotas are off. Where they are on: test/guest/projects.test.ts.

const MIB = 1024 ** 2;
const PROJECT = 2 ** 32 - 3;
const SIZES = { ext4: 64 * MIB, xfs: 320 * MIB, btrfs: 128 * MIB } as const;

for (const filesystem of ["ext4", "xfs", "btrfs"] as const) {
  const row: BedRow = { name: `no project quotas on ${filesystem}`, backend: "plain", filesystem };
  describeOnBed(
    row,
    (bed) => {
      test("are told, and a limit is an error", () => tellNone(bed));
      if (filesystem === "xfs")
        test("a directory belongs to a project all the same", () => tagDirectory(bed));
      else test("a directory cannot belong to a project", () => refuseTag(bed));
    },
    SIZES[filesystem],
  );
}

test("are told of a filesystem in memory and of /proc", () => {
  for (const path of ["/dev/shm", "/proc"]) expect(withDirectory(path, hasProjectQuota)).toBe(false);
});

test("numbers below are for people", () => {
  expect([1, 2 ** 24 - 1, 2 ** 24, 2 ** 32 - 2].map(isOwnProject)).toEqual([false, false, true, true]);
});

test("a plan changes nothing and has the commands", async () => {
  const lines: string[] = [];
  const steps = plannedSteps((line) => lines.push(line));
  await setProject(steps, "/srv/web", 20000000);
  await setProject(steps, "/srv/web", 0);
  await limitProject(steps, -1, 20000000, MIB, "/srv");
  await limitProject(steps, -1, 20000000, null, "/srv");
  expect(lines).toEqual([
    "chattr -p 20000000 +P /srv/web",
    "chattr -p 0 -P /srv/web",
    "setquota -P 20000000 0 1024 0 0 /srv",
    "setquota -P 20000000 0 0 0 0 /srv",
  ]);
});

async function tellNone(bed: Bed): Promise<void> {
  expect(withDirectory(bed.location, hasProjectQuota)).toBe(false);
  expect(withDirectory(bed.location, readProject)).toBeUndefined();
  const fd = openDirectory(bed.location);
  try {
    await expect(limitProject(directSteps, fd, PROJECT, MIB, bed.location)).rejects.toMatchObject({
      details: { call: "quotactl_fd" },
    });
  } finally {
    closeFd(fd);
  }
}

async function tagDirectory(bed: Bed): Promise<void> {
  const path = join(bed.location, "web");
  mkdirSync(path);
  await setProject(directSteps, path, PROJECT);
  expect(withDirectory(path, readProject)).toBe(PROJECT);
  expect(projectOf(path)).toBe(String(PROJECT));
  expect(run("lsattr", "-d", path)).toMatch(/^\S*P/);
  mkdirSync(join(path, "inner"));
  expect(withDirectory(join(path, "inner"), readProject)).toBe(PROJECT);
  await setProject(directSteps, path, 0);
  expect(withDirectory(path, readProject)).toBeUndefined();
  expect(projectOf(path)).toBe("0");
  expect(run("lsattr", "-d", path)).not.toMatch(/^\S*P/);
}

async function refuseTag(bed: Bed): Promise<void> {
  const path = join(bed.location, "web");
  mkdirSync(path);
  const error = await expectError("TOOL_FAILED", () => setProject(directSteps, path, PROJECT));
  expect(error.details).toMatchObject({ call: "ioctl", subject: path });
  expect(withDirectory(path, readProject)).toBeUndefined();
}
