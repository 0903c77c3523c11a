import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { tryLock } from "../../src/system/libc.ts";
import { Holders } from "../e2e/holders.ts";
import { ALL_BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { checkAndRepair, checkOnly, createVolume, expectRepair } from "../support/checking.ts";
import { until } from "../support/expect.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { killAtStep } from "../support/killing.ts";

// What killed runs leave in the places of operations: check names it, and removes it only with a repair.

const LEFTOVER = { code: "leftover", severity: "problem", advice: null } as const;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      Bun.spawnSync(["chattr", "-R", "-i", bed.location], { stderr: "ignore" });
      clearBed(bed);
    });

    test("of a create that was killed at any step is named, and removed by a repair", () => killCreates(bed));
    test("of a drop that was killed is named, and removed with the parents that it needed", () =>
      killDrop(bed));
    test("of a drop on a full disk is named, and removed by a repair", () => dropOnFullDisk(bed));
    test("is none while somebody is at work, also a child that outlived its program", () =>
      workBesides(bed, holders));
    // Who has the object of a thin device open does not use the device.
    if (!bed.isPool)
      test("that somebody uses stays, and the answer says who", () => useLeftover(bed, holders));
    test("that cannot be removed stays with the error, and the rest is removed", () => keepImmovable(bed));
    test("with something that mosaic did not make stays for people", () => keepForeign(bed));
    test("an empty work directory is one, and one that is not private is left alone", () =>
      checkWorkDirectory(bed));
  });
}

async function killCreates(bed: Bed): Promise<void> {
  const values = { kind: "fs", volume: "p/q/new", sizeBytes: 16 * 1024 ** 2 };
  const subjects = new Set<string>();
  // A step that was not reached ends the loop; the steps lie further and further apart.
  for (let at = 2; killAtStep(bed.config, "kill-before", at, "create", values); at = 2 * at + 1) {
    const findings = await checkOnly(bed);
    // A kill after the volume is published leaves it, and at last nothing but it.
    const leftovers = findings.filter(({ code }) => code === "leftover");
    const needless = findings.filter(({ code }) => code === "needless-parent");
    const daemons = findings.filter(({ code }) => code === "stale-daemon");
    expect(daemons.length).toBeLessThanOrEqual(bed.row.backend === "qcow2" ? 1 : 0);
    const others = findings.length - leftovers.length - needless.length - daemons.length;
    expect({ at, others }).toEqual({ at, others: 0 });
    for (const finding of leftovers) {
      expect(finding).toMatchObject({ ...LEFTOVER, isRepairable: true });
      subjects.add(finding.subject.replace(/[0-9a-f-]{36}/, "ID"));
    }
    expect((await checkAndRepair(bed)).filter(({ isRepaired }) => !isRepaired)).toEqual([]);
    expect({ at, left: await checkOnly(bed) }).toEqual({ at, left: [] });
    expect(existsSync(join(bed.location, ".mosaic"))).toBe(false);
    clearBed(bed);
  }
  expect([...subjects].sort()).toEqual([".mosaic", ".mosaic/ID"].map((path) => join(bed.location, path)));
}

async function killDrop(bed: Bed): Promise<void> {
  await createVolume(bed, "p/q/old");
  const isMoved = () => !existsSync(join(bed.location, "p/q/old"));
  let at = 2;
  // Until the volume lies in the trash, each killed drop is one that did nothing.
  while (!isMoved()) {
    expect(killAtStep(bed.config, "kill-before", at++, "drop", { volume: "p/q/old" })).toBe(true);
    if (!isMoved()) await checkAndRepair(bed);
  }
  const [operation] = readdirSync(join(bed.location, ".mosaic"));
  expect(readdirSync(join(bed.location, ".mosaic", operation ?? ""))).toEqual(["volume"]);
  expect(await checkOnly(bed)).toMatchObject([
    { ...LEFTOVER, subject: join(bed.location, ".mosaic", operation ?? "") },
    { code: "needless-parent", subject: "p/q" },
  ]);
  // The parents go with what needed them, and so are no finding of their own any more.
  expect(await checkAndRepair(bed)).toMatchObject([{ ...LEFTOVER, isRepaired: true }]);
  expect(readdirSync(bed.location)).toEqual([]);
}

async function dropOnFullDisk(bed: Bed): Promise<void> {
  await createVolume(bed, "old");
  const trash = join(bed.location, ".mosaic.drop");
  renameSync(join(bed.location, "old"), trash);
  await expectRepair(bed, { ...LEFTOVER, subject: trash });
  expect(readdirSync(bed.location)).toEqual([]);
}

async function workBesides(bed: Bed, holders: Holders): Promise<void> {
  const paths = [makeLeftover(bed, "x"), makeForeign(bed, ".mosaic.drop")];
  const expectUntouched = async () => {
    expect(await checkOnly(bed)).toEqual([]);
    expect(await checkAndRepair(bed)).toEqual([]);
    expect(paths.map((path) => existsSync(path))).toEqual([true, true]);
  };
  const fds = paths.map((path) => openSync(path, "r"));
  try {
    for (const fd of fds) expect(tryLock(fd)).toBe(true);
    await expectUntouched();
  } finally {
    for (const fd of fds) closeSync(fd);
  }
  // The process that took the lock has ended, and another one has inherited it.
  for (const path of paths) await holders.hold('exec 7<"$1"; flock 7', path);
  await expectUntouched();
  await holders.release();
  const repaired = { ...LEFTOVER, isRepaired: true };
  expect(await checkAndRepair(bed)).toMatchObject([repaired, repaired]);
}

async function useLeftover(bed: Bed, holders: Holders): Promise<void> {
  const operation = makeLeftover(bed, "x");
  const pid = await holders.hold('exec 7<"$1"', join(operation, "volume"));
  const [finding, ...others] = await checkAndRepair(bed);
  expect(others).toEqual([]);
  expect(finding).toMatchObject({ ...LEFTOVER, subject: operation, isRepaired: false });
  expect(finding?.error?.code).toBe("BUSY");
  expect(finding?.error?.message).toContain(`process ${pid}`);
  await holders.release();
  await until("the end of the process", () => !existsSync(`/proc/${pid}`));
  await expectRepair(bed, { ...LEFTOVER, subject: operation });
}

async function keepImmovable(bed: Bed): Promise<void> {
  const paths = ["a", "b", "c"].map((name) => makeLeftover(bed, name));
  const stuck = paths[1] ?? "";
  run("chattr", "+i", join(stuck, "volume"));
  const findings = await checkAndRepair(bed);
  expect(findings.map(({ subject, isRepaired }) => [subject, isRepaired])).toEqual(
    paths.map((path) => [path, path !== stuck]),
  );
  expect(findings[1]?.error?.code).toBe("PERMISSION_DENIED");
  expect(readdirSync(join(bed.location, ".mosaic"))).toEqual(["b"]);
  run("chattr", "-i", join(stuck, "volume"));
  await expectRepair(bed, { ...LEFTOVER, subject: stuck });
}

async function keepForeign(bed: Bed): Promise<void> {
  const operation = join(bed.location, ".mosaic/x");
  mkdirSync(operation, { recursive: true, mode: 0o700 });
  symlinkSync("/etc/hostname", join(operation, "link"));
  const before = await checkOnly(bed);
  const [finding] = await checkAndRepair(bed);
  expect(finding).toMatchObject({ ...LEFTOVER, subject: operation, isRepaired: false });
  expect(finding?.error?.code).toBe("DAMAGED");
  expect(finding?.error?.message).toContain("did not make");
  expect(readdirSync(operation)).toEqual(["link"]);
  expect(await checkOnly(bed)).toEqual([...before]);
}

async function checkWorkDirectory(bed: Bed): Promise<void> {
  const work = join(bed.location, ".mosaic");
  mkdirSync(work, { mode: 0o700 });
  await expectRepair(bed, { ...LEFTOVER, subject: work });
  const shapes = [
    () => run("install", "-d", "-m", "755", work),
    () => run("install", "-d", "-m", "700", "-o", "65534", work),
    () => symlinkSync("/tmp", work),
    () => writeFileSync(work, "a file"),
  ];
  for (const make of shapes) {
    make();
    const before = await checkOnly(bed);
    expect(before).toEqual([
      expect.objectContaining({
        code: "work-directory",
        severity: "problem",
        subject: bed.location,
        message: expect.stringContaining("not a private directory of root's"),
        isRepairable: false,
      }),
    ]);
    expect(await checkAndRepair(bed)).toEqual([...before]);
    run("rm", "-r", work);
  }
}

/** An operation's directory with a volume in it, and nobody at work on it. */
function makeLeftover(bed: Bed, name: string): string {
  mkdirSync(join(bed.location, ".mosaic"), { recursive: true, mode: 0o700 });
  return dirname(makeForeign(bed, `.mosaic/${name}/volume`, 8 * 1024 ** 2));
}
