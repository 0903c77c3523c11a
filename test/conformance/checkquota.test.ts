import { afterEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkAndRepair, checkOnly, expectDecision, expectRepair } from "../support/checking.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { askTool, limitByTool, QUOTA_ROWS, switchQuota, writeFile } from "../support/quota.ts";
import { snapshotTree } from "../support/snapshot.ts";

// Quotas that are off or wrong: what check says, what the other actions do, and that moctl never switches them on.

const MIB = 1024 ** 2;
const SIZE = 16 * MIB;
const WITHOUT_SIZE = { kind: "fs" } as const;
const FS = { kind: "fs", sizeBytes: SIZE } as const;

for (const row of QUOTA_ROWS)
  describeOnBed(
    row,
    (bed) => {
      afterEach(() => clearBed(bed));
      test("a limit that differs from the record is found and mended, also of a full volume", () =>
        findDifferent(bed));
      test("while quotas are off sizes are UNAVAILABLE, with the command, and the rest works", () =>
        worksWithoutQuota(bed));
      if (row.backend === "plain") {
        test("a volume that lost its project is found", () => findWithoutProject(bed));
        return;
      }
      test("a limit that no record has is found and mended", () => findUnrecorded(bed));
      test("a limit comes along with an adopted subvolume", () => adoptsLimit(bed));
      test("quotas of another mode are UNAVAILABLE, with the commands", () => refusesOtherMode(bed));
      if (row.quota === "qgroup")
        test("wrong numbers are found, with the command", () => findInconsistent(bed));
    },
    1024 * MIB,
  );

async function findDifferent(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("group/web", FS);
  await mosaic.createVolume("free", WITHOUT_SIZE);
  expect(await checkOnly(bed)).toEqual([]);
  const finding = { code: "quota-differs", severity: "problem", subject: "group/web" } as const;
  for (const limitBytes of [null, 2 * SIZE, SIZE / 2]) {
    limitByTool(bed, "group/web", limitBytes);
    const message = expect.stringContaining(`its limit is ${limitBytes ?? "none"}`);
    await expectRepair(bed, { ...finding, message });
    expect(askTool(bed, "group/web")?.limitBytes).toBe(SIZE);
  }
  limitByTool(bed, "group/web", null);
  expect(writeFile(join(bed.location, "group/web/file"), 2 * SIZE).words).toBe("");
  await expectRepair(bed, finding);
  expect(writeFile(join(bed.location, "group/web/more"), MIB).bytes).toBe(0);
}

async function worksWithoutQuota(bed: Bed): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  await makeVolumes(bed, ["sized", "dropped"]);
  switchQuota(bed, false);
  try {
    await using mosaic = await openMosaic(bed.config);
    const before = snapshotTree(bed.location);
    expect(mosaic.info().features).not.toContain("volsize");
    for (const attempt of refusedAttempts(bed, mosaic)) {
      const { message, details } = await expectError("UNAVAILABLE", attempt);
      expect(message).toContain("are off");
      expect(String(details.command)).toMatch(
        bed.row.backend === "btrfs" ? /^btrfs quota enable / : /prjquota/,
      );
    }
    expect(snapshotTree(bed.location)).toEqual(before);
    await expectDecision(bed, { code: "quota-off", severity: "problem", subject: bed.location });
    await mosaic.createVolume("free", WITHOUT_SIZE);
    await mosaic.mountVolume("sized", mountPoint);
    expect(writeFile(join(mountPoint, "file"), MIB)).toEqual({ bytes: MIB, words: "" });
    await mosaic.unmountVolume("sized", mountPoint);
    expect(await mosaic.statVolume("sized")).toMatchObject({ sizeBytes: SIZE, virtualBytes: null });
    if (bed.row.backend === "btrfs") await mosaic.cloneVolume("free", "copy");
    await mosaic.dropVolume("dropped");
    expect(mosaic.listVolumes().map(({ name }) => String(name))).not.toContain("dropped");
    expect((await checkOnly(bed)).map(({ code }) => code)).toEqual(["quota-off"]);
  } finally {
    switchQuota(bed, true);
  }
  // btrfs forgets all limits with its quotas, the others keep them.
  const codes = (await checkAndRepair(bed)).map(({ code, isRepaired }) => [code, isRepaired]);
  expect(codes).toEqual(bed.row.backend === "btrfs" ? [["quota-differs", true]] : []);
  expect(await checkOnly(bed)).toEqual([]);
  expect(askTool(bed, "sized")?.limitBytes).toBe(SIZE);
}

function refusedAttempts(bed: Bed, mosaic: Awaited<ReturnType<typeof openMosaic>>): (() => unknown)[] {
  return [
    () => mosaic.createVolume("p/new", FS),
    () => mosaic.resizeVolume("sized", 2 * SIZE),
    ...(bed.row.backend === "btrfs" ? [() => mosaic.cloneVolume("sized", "p/new")] : []),
  ];
}

async function findWithoutProject(bed: Bed): Promise<void> {
  await makeVolumes(bed, ["web"]);
  run("chattr", "-p", "0", "-P", join(bed.location, "web"));
  await expectDecision(bed, { code: "quota-differs", severity: "problem", subject: "web" });
}

async function findUnrecorded(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("free", WITHOUT_SIZE);
  limitByTool(bed, "free", SIZE);
  expect(await mosaic.statVolume("free")).toMatchObject({ sizeBytes: null, virtualBytes: SIZE });
  await expectRepair(bed, { code: "quota-differs", severity: "problem", subject: "free" });
  expect(askTool(bed, "free")?.limitBytes).toBeNull();
}

async function adoptsLimit(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  for (const [name, sizeBytes] of [
    ["limited", SIZE],
    ["free", null],
  ] as const) {
    run("btrfs", "-q", "subvolume", "create", join(bed.location, name));
    limitByTool(bed, name, sizeBytes);
    expect(await mosaic.adoptVolume(name, "fs")).toMatchObject({ name, sizeBytes });
  }
  expect(await checkOnly(bed)).toEqual([]);
}

async function refusesOtherMode(bed: Bed): Promise<void> {
  const [other, enable] =
    bed.row.quota === "qgroup"
      ? ["simple", `btrfs quota enable --simple ${bed.location}`]
      : ["qgroup", `btrfs quota enable ${bed.location}`];
  const config = join(bed.directory, "other.mos");
  writeFileSync(config, `type: btrfs\nlocation: ./location\nquota: ${other}\n`, { mode: 0o644 });
  await makeVolumes(bed, ["sized"]);
  await using mosaic = await openMosaic(config);
  expect(mosaic.info().features).toEqual(["clone"]);
  const command = `btrfs quota disable ${bed.location} && ${enable}`;
  const before = snapshotTree(bed.location);
  for (const attempt of refusedAttempts(bed, mosaic)) {
    const { message, details } = await expectError("UNAVAILABLE", attempt);
    expect(message).toContain(`are in the mode ${bed.row.quota}`);
    expect(message).toContain(command);
    expect(details).toMatchObject({ wanted: other, found: bed.row.quota, command });
  }
  expect(snapshotTree(bed.location)).toEqual(before);
  await expectDecision(bed, { code: "quota-off", advice: command }, config);
  await mosaic.createVolume("free", WITHOUT_SIZE);
  await mosaic.dropVolume("sized");
  expect(await checkOnly(bed)).toEqual([]);
}

/** A subvolume that shares data, put into a group without a count, makes the numbers wrong: btrfs-qgroup(8). */
async function findInconsistent(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("old", FS);
  writeFile(join(bed.location, "old/file"), MIB);
  await mosaic.cloneVolume("old", "new");
  run("btrfs", "filesystem", "sync", bed.location);
  const number = run("btrfs", "inspect-internal", "rootid", join(bed.location, "new")).trim();
  run("btrfs", "qgroup", "create", "1/1", bed.location);
  try {
    run("btrfs", "qgroup", "assign", "--no-rescan", `0/${number}`, "1/1", bed.location);
    const { advice } = await expectDecision(bed, {
      code: "quota-inconsistent",
      severity: "problem",
      subject: bed.location,
      advice: `btrfs quota rescan -w ${bed.location}`,
    });
    run("sh", "-c", advice ?? "false");
    expect(await checkOnly(bed)).toEqual([]);
    expect(askTool(bed, "new")?.limitBytes).toBe(SIZE);
  } finally {
    run("btrfs", "qgroup", "remove", "--no-rescan", `0/${number}`, "1/1", bed.location);
    run("btrfs", "qgroup", "destroy", "1/1", bed.location);
    run("btrfs", "quota", "rescan", "-w", bed.location);
  }
}

async function makeVolumes(bed: Bed, names: readonly string[]): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  for (const name of names) await mosaic.createVolume(name, FS);
}
