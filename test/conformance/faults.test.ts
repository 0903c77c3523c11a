import { afterAll, afterEach, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ActionName, runAction } from "../../src/api/actions.ts";
import type { BackendName } from "../../src/backends/registry.ts";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { isAtOrBelow } from "../../src/system/mounts.ts";
import {
  ALL_BEDS,
  type Bed,
  type ConformanceBed,
  daemonsBelow,
  describeOnBed,
  run,
} from "../support/beds.ts";
import { listBedDevices, whileAttached } from "../support/devices.ts";
import { until } from "../support/expect.ts";
import { FaultySteps } from "../support/faults.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { killAtStep } from "../support/killing.ts";
import { expectPoolSame } from "../support/pools.ts";
import { rawImageOf } from "../support/rawimage.ts";
import { readInsideBytes } from "../support/resizing.ts";
import { mountsBelow, snapshotTree } from "../support/snapshot.ts";

// For every action and every bed: every step fails once, and every step is once a SIGKILL of the process before and
// after it. A failed action has changed nothing; what a killed one left is gone after the next command.

const MAX_STEPS = 100;
const TIMEOUT_MS = process.env.MOSAIC_TIER === "guest" ? 900_000 : 300_000;
const SIZE = 16 * 1024 ** 2;
const XFS_SIZE = 300 * 1024 ** 2;

interface Scenario {
  readonly name: string;
  readonly action: ActionName;
  readonly values: (bed: Bed, mountPoint: string) => Record<string, unknown>;
  /** Makes the state before the action. */
  readonly prepare?: (mosaic: Mosaic, bed: Bed, mountPoint: string) => Promise<unknown>;
  readonly needs?: "clone" | "bdev" | "volsize";
  /** The beds it runs on, where one says as much as all. */
  readonly on?: Bed["row"]["filesystem"];
  /** Whether a failure after the commit point may leave the action done. */
  readonly mayBeDone?: boolean;
}

const SCENARIOS: readonly Scenario[] = [
  { name: "create", action: "create", values: () => ({ kind: "fs", volume: "p/q/new", sizeBytes: SIZE }) },
  {
    name: "create disk",
    action: "create",
    values: () => ({ kind: "disk", volume: "new", sizeBytes: SIZE }),
    needs: "bdev",
  },
  {
    name: "clone",
    action: "clone",
    values: () => ({ origin: "old", volume: "p/new" }),
    prepare: makeOld,
    needs: "clone",
  },
  {
    name: "clone of a mounted volume",
    action: "clone",
    values: () => ({ origin: "old", volume: "new" }),
    prepare: makeOldMounted,
    needs: "clone",
  },
  {
    name: "clone of an attached disk",
    action: "clone",
    values: () => ({ origin: "old", volume: "new" }),
    prepare: makeOldAttached,
    needs: "clone",
    on: "thin-pool",
  },
  {
    name: "drop",
    action: "drop",
    values: () => ({ volume: "p/q/old" }),
    prepare: makeNested,
    mayBeDone: true,
  },
  { name: "attach", action: "attach", values: () => ({ volume: "old" }), prepare: makeOld, needs: "bdev" },
  {
    name: "detach",
    action: "detach",
    values: () => ({ volume: "old" }),
    prepare: makeOldAttached,
    needs: "bdev",
  },
  {
    name: "mount",
    action: "mount",
    values: (_bed, mountPoint) => ({ volume: "old", mountPoint }),
    prepare: makeOld,
  },
  {
    name: "umount",
    action: "umount",
    values: (_bed, mountPoint) => ({ volume: "old", mountPoint }),
    prepare: makeOldMounted,
  },
  {
    name: "adopt",
    action: "adopt",
    values: () => ({ kind: "fs", volume: "p/foreign" }),
    prepare: async (_mosaic, bed) => makeForeign(bed, "p/foreign"),
  },
  {
    name: "resize: grow",
    action: "resize",
    values: () => ({ volume: "old", sizeBytes: 2 * SIZE }),
    prepare: makeOld,
    needs: "volsize",
    mayBeDone: true,
  },
  {
    name: "resize: grow of xfs inside",
    action: "resize",
    values: () => ({ volume: "old", sizeBytes: 2 * XFS_SIZE }),
    prepare: (_mosaic, bed) => makeXfs(bed),
    needs: "bdev",
    on: "xfs",
    mayBeDone: true,
  },
  {
    name: "resize: grow of a mounted volume",
    action: "resize",
    values: () => ({ volume: "old", sizeBytes: 2 * XFS_SIZE }),
    prepare: async (mosaic, bed, mountPoint) => {
      await makeXfs(bed);
      await mosaic.mountVolume("old", mountPoint);
    },
    needs: "bdev",
    on: "xfs",
    mayBeDone: true,
  },
  {
    name: "resize: shrink",
    action: "resize",
    values: () => ({ volume: "old", sizeBytes: SIZE, shrink: true }),
    prepare: (mosaic) => mosaic.createVolume("old", { kind: "fs", sizeBytes: 2 * SIZE }),
    needs: "volsize",
  },
];

// Where one backend goes another way than the rest. A start of a storage daemon takes its time, and so does each program
// in the virtual machine.
const OWN: Partial<Record<BackendName, readonly string[]>> = {
  qcow2: [
    "create",
    "clone of a mounted volume",
    "drop",
    "attach",
    "mount",
    "resize: grow of a mounted volume",
    "resize: shrink",
  ],
  ploop: ["create", "clone of a mounted volume", "drop", "mount", "resize: grow"],
  dmthin: ["clone of an attached disk", "drop", "attach"],
};
const OWN_OF_QUOTA = ["create", "drop", "resize: grow"];

const counts: string[] = [];
afterAll(() => console.error(`steps that failed or were killed at: ${counts.join(", ")}`));

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    for (const scenario of SCENARIOS.filter((one) => isPossible(row, one) && isChosen(row, one))) {
      test(`${scenario.name}: every step fails once`, () => failEveryStep(bed, scenario), TIMEOUT_MS);
      if (isCostly(row, scenario)) continue;
      test(`${scenario.name}: every step is a kill once`, () => killAtEveryStep(bed, scenario), TIMEOUT_MS);
    }
  });
}

function isChosen(row: ConformanceBed, { name }: Scenario): boolean {
  const own = OWN[row.backend] ?? (row.tier === "guest" ? OWN_OF_QUOTA : undefined);
  return own?.includes(name) ?? true;
}

/** Whether kills of it say little beside those of other beds, for the minutes that they take. */
function isCostly({ backend, tier }: ConformanceBed, { action }: Scenario): boolean {
  if (backend === "plain") return tier === "guest";
  return action === "resize" && (backend === "qcow2" || backend === "ploop");
}

async function failEveryStep(bed: Bed, scenario: Scenario): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  for (let at = 1; at <= MAX_STEPS; at++) {
    const before = await prepare(bed, scenario, mountPoint);
    const steps = new FaultySteps(at, "fail");
    const error = await runFaulty(bed, scenario, mountPoint, steps);
    if (!steps.fired) {
      expect(error).toBeUndefined();
      finish(bed, scenario, "failures", at - 1);
      return;
    }
    if (error !== undefined) {
      expect(String(error)).toContain("injected before");
      if (!scenario.mayBeDone && !mayHaveBase(bed, scenario)) expect(describeState(bed)).toEqual(before);
    }
    await expectCleanAfterSweep(bed, scenario, mountPoint);
    clearBed(bed);
  }
  throw new Error(`${scenario.name} took more than ${MAX_STEPS} steps`);
}

/** A kill after a step is the kill before the next one: between them nothing changes. After the last there is none. */
async function killAtEveryStep(bed: Bed, scenario: Scenario): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  let steps = 0;
  while (await killAt(bed, scenario, mountPoint, "kill-before", steps + 1))
    expect(++steps).toBeLessThan(MAX_STEPS);
  clearBed(bed);
  expect(await killAt(bed, scenario, mountPoint, "kill-after", steps)).toBe(true);
  finish(bed, scenario, "kills", steps);
}

/** Kills the action at a step, and looks at what is left; false when it has no such step, and came to its end. */
async function killAt(
  bed: Bed,
  scenario: Scenario,
  mountPoint: string,
  mode: "kill-before" | "kill-after",
  at: number,
): Promise<boolean> {
  await prepare(bed, scenario, mountPoint);
  const values = scenario.values(bed, mountPoint);
  if (!killAtStep(bed.config, mode, at, scenario.action, values)) return false;
  await expectCleanAfterSweep(bed, scenario, mountPoint);
  clearBed(bed);
  return true;
}

function finish(bed: Bed, scenario: Scenario, mode: string, steps: number): void {
  expect(steps).toBeGreaterThan(0);
  counts.push(`${bed.row.name}/${scenario.name}/${mode} ${steps}`);
  clearBed(bed);
}

function isPossible(row: ConformanceBed, { needs, on }: Scenario): boolean {
  return (on === undefined || on === row.filesystem) && (needs === undefined || row.features.includes(needs));
}

async function prepare(bed: Bed, scenario: Scenario, mountPoint: string): Promise<unknown> {
  await using mosaic = await openMosaic(bed.config);
  await scenario.prepare?.(mosaic, bed, mountPoint);
  return describeState(bed);
}

async function runFaulty(
  bed: Bed,
  scenario: Scenario,
  mountPoint: string,
  steps: FaultySteps,
): Promise<unknown> {
  await using mosaic = await openMosaic(bed.config, { steps });
  try {
    await runAction(mosaic, scenario.action, scenario.values(bed, mountPoint));
    return undefined;
  } catch (thrown) {
    return thrown;
  }
}

/** What a volume in use wrote since the commit is in its overlay: the base below that stays. */
function mayHaveBase(bed: Bed, scenario: Scenario): boolean {
  return bed.row.backend === "qcow2" && scenario.name === "clone of a mounted volume";
}

/** Without the mark of a found parent: once others may rely on it, a failure does not take it back. */
function describeState(bed: Bed): unknown {
  const tree = Object.entries(snapshotTree(bed.location)).map(([path, state]) => [
    path,
    state.replace("|found|", "||"),
  ]);
  return { tree, loops: listBedDevices(bed), mounts: mountsBelow(bed.directory) };
}

/** The next command sweeps; an orphan of the killed process may still be at work, which holds its lock until it ends. */
async function expectCleanAfterSweep(bed: Bed, scenario: Scenario, mountPoint: string): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const kind = mosaic.info().features.includes("bdev") ? "disk" : "fs";
  await until("the sweep", async () => {
    await mosaic.createVolume("sweeper", { kind, sizeBytes: SIZE });
    await mosaic.dropVolume("sweeper");
    return !existsSync(join(bed.location, ".mosaic")) && !existsSync(join(bed.location, ".mosaic.drop"));
  });
  const isInUse = mountsBelow(bed.directory).includes(mountPoint);
  if (isInUse) run("timeout", "--signal=KILL", "30", "touch", join(mountPoint, "still-writable"));
  await until("loop devices that nobody uses to go", async () => {
    const used = mosaic
      .listVolumes()
      .filter((volume) => volume.attachedAs !== null || volume.mountedAt.length > 0);
    return listBedDevices(bed).length === (mosaic.info().features.includes("bdev") ? used.length : 0);
  });
  const users = mosaic.listVolumes().filter((volume) => volume.attachedAs ?? volume.mountedAt.length > 0);
  expect(daemonsBelow(bed.location)).toHaveLength(
    ["qcow2", "ploop"].includes(bed.row.backend) ? users.length : 0,
  );
  if (scenario.action !== "attach" && scenario.prepare !== makeOldAttached) {
    expect(mosaic.listVolumes().filter((volume) => volume.attachedAs !== null)).toEqual([]);
  }
  await expectWholeVolumes(mosaic, bed);
  if (scenario.action === "resize") await expectCompletion(mosaic, bed, scenario, mountPoint);
}

/** A volume that is resized has its old or its new size, and the same command brings it to the new one. */
async function expectCompletion(
  mosaic: Mosaic,
  bed: Bed,
  scenario: Scenario,
  mountPoint: string,
): Promise<void> {
  const values = scenario.values(bed, mountPoint) as { sizeBytes: number; shrink?: boolean };
  const { sizeBytes } = values;
  const other = values.shrink ? 2 * sizeBytes : sizeBytes / 2;
  expect([sizeBytes, other]).toContain(Number((await mosaic.getVolume("old")).sizeBytes));
  await runAction(mosaic, "resize", { ...values });
  expect(await mosaic.statVolume("old")).toMatchObject({ sizeBytes, virtualBytes: sizeBytes });
  if (mountsBelow(bed.directory).includes(mountPoint)) await mosaic.unmountVolume("old", mountPoint);
  if (!mosaic.info().features.includes("bdev")) return;
  await until("the device to go", () => listBedDevices(bed).length === 0);
  const inside = (await mosaic.getVolume("old")).filesystem === "xfs" ? "xfs" : "ext4";
  const look = (image: string) => {
    expect(readInsideBytes(inside, image)).toBe(sizeBytes);
    run(...(inside === "xfs" ? ["xfs_repair", "-n"] : ["e2fsck", "-f", "-n"]), image);
  };
  if (bed.isPool) await whileAttached(mosaic, "old", look);
  else look(rawImageOf(bed, "old"));
}

/** Each volume that is listed can be mounted, and no directory is left that no volume needs. */
async function expectWholeVolumes(mosaic: Mosaic, bed: Bed): Promise<void> {
  const probe = bed.makeMountPoint();
  const volumes = mosaic.listVolumes();
  for (const volume of volumes) {
    if (volume.kind === "disk") continue;
    await mosaic.mountVolume(volume.name, probe);
    await mosaic.unmountVolume(volume.name, probe);
  }
  const known = new Set(
    ["p/foreign", ...volumes.map((volume) => volume.storedName)].filter((name) =>
      existsSync(join(bed.location, name)),
    ),
  );
  const isKnown = (path: string) =>
    [...known].some((name) => isAtOrBelow(path, name) || isAtOrBelow(name, path));
  const isBase = (path: string) => bed.row.backend === "qcow2" && isAtOrBelow(path, ".mosaic-base");
  expect(Object.keys(snapshotTree(bed.location)).filter((path) => !isKnown(path) && !isBase(path))).toEqual(
    [],
  );
  if (bed.row.backend === "qcow2") checkQcow2Images(bed, volumes);
  if (bed.isPool) expectPoolSame(bed);
}

/** By the format's own checker; every base is needed by an image. */
function checkQcow2Images(
  bed: Bed,
  volumes: readonly {
    readonly storedName: string;
    readonly mountedAt: readonly string[];
    readonly attachedAs: string | null;
  }[],
): void {
  for (const { storedName, mountedAt, attachedAs } of volumes) {
    const idle = mountedAt.length === 0 && attachedAs === null;
    if (idle) run("qemu-img", "check", "-q", "-f", "qcow2", join(bed.location, storedName));
  }
  const bases = Object.keys(snapshotTree(bed.location)).filter((path) => path.startsWith(".mosaic-base/"));
  const heads = volumes.map(({ storedName }) => run("head", "-c", "4096", join(bed.location, storedName)));
  const chain = [...heads, ...bases.map((path) => run("head", "-c", "4096", join(bed.location, path)))].join(
    "",
  );
  expect(bases.filter((path) => !chain.includes(path.slice(".mosaic-base/".length)))).toEqual([]);
}

/** A filesystem is beside the point of what is done in the virtual machine, and takes seconds there. */
const kindOn = (bed: Bed) => (bed.isPool ? "disk" : "fs");

async function makeOld(mosaic: Mosaic, bed: Bed): Promise<void> {
  await mosaic.createVolume("old", { kind: kindOn(bed), sizeBytes: SIZE });
}

async function makeXfs(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.writeConfig("xfs", ["default_fs: xfs"]));
  await mosaic.createVolume("old", { kind: "fs", sizeBytes: XFS_SIZE });
}

async function makeOldMounted(mosaic: Mosaic, bed: Bed, mountPoint: string): Promise<void> {
  await makeOld(mosaic, bed);
  await mosaic.mountVolume("old", mountPoint);
  writeFileSync(join(mountPoint, "data"), "precious");
  run("sync", "-f", mountPoint);
}

async function makeOldAttached(mosaic: Mosaic, bed: Bed): Promise<void> {
  await makeOld(mosaic, bed);
  await mosaic.attachVolume("old");
}

async function makeNested(mosaic: Mosaic, bed: Bed): Promise<void> {
  await mosaic.createVolume("p/q/old", { kind: kindOn(bed), sizeBytes: SIZE });
}
