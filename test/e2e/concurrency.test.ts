import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, BEDS, type Bed, daemonsBelow, describeOnBed, needsSize, run } from "../support/beds.ts";
import { listBedDevices } from "../support/devices.ts";
import { clearBed } from "../support/foreign.ts";
import { Holders } from "./holders.ts";
import { createFs, expectRefusal, startMoctl, succeed, succeedJson } from "./moctl.ts";
import type { Ended } from "./program.ts";

// Many at once: each name has one winner, the others learn who it is, and nobody fails for another's sake.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearBed(bed);
    });
    // Each of them starts a daemon, which says nothing more here.
    const isCheap = row.backend !== "qcow2" && row.backend !== "ploop";
    if (isCheap) test("50 creates with 50 names make 50 volumes", () => createMany(bed));
    test("50 creates with one name make one volume", () => createOne(bed));
    test("drops of one volume have one winner", () => dropOne(bed));
    if (isCheap) test("siblings made and dropped at once do not disturb each other", () => raceSiblings(bed));
    test("a volume whose lock another process has is LOCKED, and the process is named", () =>
      meetLock(bed, holders));
    if (row.filesystem !== "ext4") test("two clones race for a name", () => raceClones(bed));
    if (needsSize(row)) test("20 attaches of one volume make one device", () => attachOne(bed));
  });
}

describeOnBed(BEDS.loop[1], (bed) => {
  const holders = new Holders();
  afterEach(async () => {
    await holders.release();
    clearBed(bed);
  });
  test("the process that inherited a lock is named", () => meetInheritedLock(bed, holders));
});

for (const row of [BEDS.loop[1], BEDS.qcow2[0]]) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("mounts and umounts of one volume at once leave no device and no daemon", () => raceMounts(bed));
  });
}

const sizeOf = (bed: Bed) => (needsSize(bed.row) ? ["16m"] : []);

/** Runs all at once; `ends` are in the order of the command lines. */
function runAtOnce(bed: Bed, commands: readonly (readonly string[])[]): Promise<Ended[]> {
  return Promise.all(commands.map((args) => startMoctl([bed.config, ...args]).ended));
}

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** Checks that one ended with 0 and all others with `exit`, each with a message that says `says`. */
function expectOneWinner(ends: readonly Ended[], exit: number, says: string): void {
  const losers = ends.filter((ended) => ended.exit !== 0);
  expect(losers.filter((ended) => ended.exit !== exit || !ended.stderr.includes(says))).toEqual([]);
  expect(losers).toHaveLength(ends.length - 1);
}

function expectNothingLeft(bed: Bed): void {
  expect(readdirSync(bed.location)).toEqual([]);
  expect(daemonsBelow(bed.location)).toEqual([]);
  expect(run("losetup", "-n", "-O", "BACK-FILE")).not.toContain(`${bed.location}/`);
}

async function createMany(bed: Bed): Promise<void> {
  const names = times(50, (index) => `v${String(index).padStart(2, "0")}`);
  const ends = await runAtOnce(
    bed,
    names.map((name) => ["create", "fs", name, ...sizeOf(bed)]),
  );
  expect(ends.filter(({ exit, stderr }) => exit !== 0 || stderr !== "")).toEqual([]);
  const volumes = succeedJson(bed.config, "list").volumes as { name: string; id: string }[];
  expect(volumes.map(({ name }) => name)).toEqual(names);
  expect(new Set(volumes.map(({ id }) => id)).size).toBe(50);
  const drops = await runAtOnce(
    bed,
    names.map((name) => ["drop", name]),
  );
  expect(drops.filter(({ exit }) => exit !== 0)).toEqual([]);
  expectNothingLeft(bed);
}

async function createOne(bed: Bed): Promise<void> {
  const ends = await runAtOnce(
    bed,
    times(50, () => ["create", "fs", "a/web", ...sizeOf(bed)]),
  );
  expectOneWinner(ends, 4, "Cannot create");
  expect(succeedJson(bed.config, "list").volumes).toHaveLength(1);
  succeed(bed.config, "drop", "a/web");
  expectNothingLeft(bed);
}

async function dropOne(bed: Bed): Promise<void> {
  for (let round = 0; round < 3; round++) {
    createFs(bed, "a/web");
    const ends = await runAtOnce(
      bed,
      times(10, () => ["drop", "a/web"]),
    );
    expectOneWinner(ends, 3, 'no volume "a/web"');
    expectNothingLeft(bed);
  }
}

async function raceSiblings(bed: Bed): Promise<void> {
  const live = async (name: string) => {
    const ends: Ended[] = [];
    for (let round = 0; round < 5; round++) {
      ends.push(await startMoctl([bed.config, "create", "fs", name, ...sizeOf(bed)]).ended);
      ends.push(await startMoctl([bed.config, "drop", name]).ended);
    }
    return ends;
  };
  const ends = await Promise.all(["a/b/x", "a/b/y", "a/c/x", "a/z"].map(live));
  expect(ends.flat().filter(({ exit, stderr }) => exit !== 0 || stderr !== "")).toEqual([]);
  expectNothingLeft(bed);
}

async function raceClones(bed: Bed): Promise<void> {
  for (const name of ["one", "two"]) createFs(bed, name);
  for (let round = 0; round < 5; round++) {
    const ends = await runAtOnce(
      bed,
      ["one", "two", "one", "two"].map((origin) => ["clone", origin, "a/copy"]),
    );
    expectOneWinner(ends, 4, "Cannot clone");
    const volumes = succeedJson(bed.config, "list").volumes as { name: string }[];
    expect(volumes.map(({ name }) => name)).toEqual(["a/copy", "one", "two"]);
    if (!needsSize(bed.row)) expect(readdirSync(join(bed.location, "a/copy"))).toEqual([]);
    succeed(bed.config, "drop", "a/copy");
  }
  for (const name of ["one", "two"]) succeed(bed.config, "drop", name);
  expectNothingLeft(bed);
}

async function attachOne(bed: Bed): Promise<void> {
  createFs(bed, "web");
  const ends = await runAtOnce(
    bed,
    times(20, () => ["attach", "web"]),
  );
  const winner = ends.find(({ exit }) => exit === 0);
  const device = winner?.stdout.replace("Device: ", "").trim() ?? "?";
  expectOneWinner(ends, 5, device);
  expect(listBedDevices(bed)).toHaveLength(1);
  expect(succeedJson(bed.config, "info", "web")).toMatchObject({ attachedAs: device });
  const detached = await runAtOnce(
    bed,
    times(10, () => ["detach", "web"]),
  );
  expectOneWinner(detached, 3, "not attached");
  succeed(bed.config, "drop", "web");
  expectNothingLeft(bed);
}

async function raceMounts(bed: Bed): Promise<void> {
  createFs(bed, "web");
  const points = times(6, () => bed.makeMountPoint());
  const live = async (point: string) => {
    const ends: Ended[] = [];
    for (let round = 0; round < 4; round++)
      for (const action of ["mount", "umount"])
        ends.push(await startMoctl([bed.config, action, "web", point]).ended);
    return ends;
  };
  const ends = await Promise.all(points.map(live));
  expect(ends.flat().filter(({ exit, stderr }) => exit !== 0 || stderr !== "")).toEqual([]);
  succeed(bed.config, "drop", "web");
  expectNothingLeft(bed);
}

async function meetLock(bed: Bed, holders: Holders): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "web");
  const line = `exec flock "$1" sh -c 'echo ready; exec sleep 600'`;
  const pid = await holders.hold(line, join(bed.location, "web"));
  const refusal = { exit: 6, code: "LOCKED", says: `process ${pid}` };
  for (const args of [
    ["drop", "web"],
    ["mount", "web", mountPoint],
  ]) {
    const { details } = expectRefusal(bed.directory, ["--wait", "0", bed.config, ...args], refusal);
    expect(details.pids).toEqual([pid]);
  }
  expect(succeed(bed.config, "have", "web")).toBe("web exists: yes\n");
  expect(succeed(bed.config, "list")).toContain("web");
  const waiting = startMoctl([bed.config, "mount", "web", mountPoint]);
  await holders.release();
  expect(await waiting.ended).toEqual({ exit: 0, stdout: "", stderr: "" });
  succeed(bed.config, "umount", "web", mountPoint);
  succeed(bed.config, "drop", "web");
}

/** As a tool has it whose moctl was killed. */
async function meetInheritedLock(bed: Bed, holders: Holders): Promise<void> {
  createFs(bed, "web");
  const pid = await holders.hold('exec 9<"$1"; flock 9', join(bed.location, "web"));
  const refusal = { exit: 6, code: "LOCKED", says: `process ${pid}` };
  expectRefusal(bed.directory, ["--wait", "0", bed.config, "drop", "web"], refusal);
}
