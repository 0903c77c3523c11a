import { afterEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { findObject } from "../../src/backends/dmthin/objects.ts";
import { openMosaic } from "../../src/index.ts";
import { ALL_BEDS, type Bed, describeOnBed, dmsetup, run } from "../support/beds.ts";
import {
  adopt,
  checkAndRepair,
  checkOnly,
  createVolume,
  expectDecision,
  expectRepair,
  listNames,
} from "../support/checking.ts";
import { listBedDevices } from "../support/devices.ts";
import { until } from "../support/expect.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";

// What check says of the objects in a location and of their directories, each provoked for real.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("nothing, while all is well and in use", () => checkHealthy(bed));
    test("a foreign object, with the command that adopts it", () => findForeign(bed));
    test("a foreign object, where only people know the name for it", () => findMapped(bed));
    if (row.backend !== "plain")
      // Where every directory could be a volume, one without a mark is foreign.
      test("a volume in a directory that is not looked into", () => findUnlisted(bed));
    test("nothing of what can be no volume, and nothing of what is mounted below", () => passOthers(bed));
    test("a parent that no volume needs, and only one that mosaic made", () => findNeedless(bed));
  });
}

async function checkHealthy(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { features } = mosaic.info();
  const mountPoint = bed.makeMountPoint();
  expect(await checkOnly(bed)).toEqual([]);
  for (const name of ["web", "a/b/web", "a/idle"]) await createVolume(bed, name);
  await mosaic.mountVolume("web", mountPoint);
  writeFileSync(join(mountPoint, "file"), "x");
  if (features.includes("clone")) await mosaic.cloneVolume("web", "copy/of/web");
  if (features.includes("bdev")) await mosaic.attachVolume("a/b/web");
  expect(await checkOnly(bed)).toEqual([]);
  expect(await checkAndRepair(bed)).toEqual([]);
  expect(await listNames(bed)).toHaveLength(features.includes("clone") ? 4 : 3);
  await mosaic.unmountVolume("web", mountPoint);
  if (features.includes("bdev")) await mosaic.detachVolume("a/b/web");
  await until("the devices to go", () => listBedDevices(bed).length === 0);
}

async function findForeign(bed: Bed): Promise<void> {
  await createVolume(bed, "group/web");
  const isLoop = bed.row.backend === "loop";
  const names = ["group/old", "old", ...(bed.row.backend === "plain" ? [] : ["x/y/old"])];
  for (const name of names) makeForeign(bed, name);
  const disks = isLoop ? ["blank", "both"] : [];
  if (isLoop) makeDisks(bed);
  const findings = await checkOnly(bed);
  expect(findings.map(({ code, severity }) => `${severity} ${code}`)).toEqual(
    findings.map(() => "note foreign"),
  );
  expect(findings.map(({ subject }) => subject)).toEqual([...disks, ...names]);
  expect(await checkAndRepair(bed)).toEqual([...findings]);
  const adopted: string[] = [];
  for (const { advice } of findings) adopted.push(await adopt(bed, advice));
  expect(adopted).toEqual([...disks.map((name) => `disk ${name}`), ...names.map((name) => `fs ${name}`)]);
  expect(await checkOnly(bed)).toEqual([]);
  expect((await listNames(bed)).sort()).toEqual(
    [...adopted.map((line) => line.split(" ")[1]), "group/web"].sort() as string[],
  );
}

/** Images that hold no filesystem, or two at once: then nobody can say which. */
function makeDisks(bed: Bed): void {
  const at = (name: string) => join(bed.location, name);
  run("truncate", "-s", "8M", at("blank"));
  const other = makeForeign(bed, "other.tmp", 128 * 1024 ** 2);
  run("mkfs.btrfs", "-q", "-f", other);
  makeForeign(bed, "both", 128 * 1024 ** 2);
  // The superblock of btrfs lies where ext4 has nothing yet.
  run(
    "dd",
    `if=${other}`,
    `of=${at("both")}`,
    "bs=4K",
    "skip=16",
    "seek=16",
    "count=1",
    "conv=notrunc",
    "status=none",
  );
  rmSync(other);
  expect(Bun.spawnSync(["blkid", "--probe", at("both")]).exitCode).toBe(8);
}

async function findMapped(bed: Bed): Promise<void> {
  const config = bed.writeConfig("map", ["volumeMap: \\([a-z]\\)\\(.*\\) \\1/\\2"]);
  makeForeign(bed, "o");
  const finding = await expectDecision(bed, { code: "foreign", subject: "o" }, config);
  expect(finding.advice).toBe(`moctl ${config} adopt fs NAME, with the NAME that the volume map sends to o`);
}

async function findUnlisted(bed: Bed): Promise<void> {
  await createVolume(bed, "a/b/web");
  run("setfattr", "-x", "trusted.mosaic.parent", join(bed.location, "a"));
  expect(await listNames(bed)).toEqual([]);
  await expectRepair(bed, { code: "unlisted", severity: "problem", subject: "a/b/web" });
  expect(await listNames(bed)).toEqual(["a/b/web"]);
}

async function findNeedless(bed: Bed): Promise<void> {
  mkdirSync(join(bed.location, "found"));
  await createVolume(bed, "found/made/deep/web");
  await createVolume(bed, "made/web");
  await createVolume(bed, "full/web");
  for (const path of ["found/made/deep/web", "made/web", "full/web"]) clearVolume(bed, path);
  writeFileSync(join(bed.location, "full/file.tmp"), "x");
  const findings = await checkOnly(bed);
  expect(findings).toMatchObject([
    { code: "needless-parent", severity: "problem", subject: "found/made/deep", isRepairable: true },
    { code: "needless-parent", severity: "problem", subject: "made", isRepairable: true },
  ]);
  expect((await checkAndRepair(bed)).map(({ subject, isRepaired }) => [subject, isRepaired])).toEqual([
    ["found/made/deep", true],
    ["made", true],
  ]);
  expect(readdirSync(bed.location).sort()).toEqual(["found", "full"]);
  expect(await checkOnly(bed)).toEqual([]);
  rmSync(join(bed.location, "full/file.tmp"));
  await expectRepair(bed, { code: "needless-parent", subject: "full" });
}

/** Removes a volume as somebody does who does not know mosaic. */
function clearVolume(bed: Bed, name: string): void {
  const path = join(bed.location, name);
  const id = bed.isPool ? findObject(path)?.id : undefined;
  if (id !== undefined) dmsetup("message", basename(bed.configuredLocation), "0", `delete ${id}`);
  if (bed.row.backend === "btrfs") run("btrfs", "-q", "subvolume", "delete", path);
  else rmSync(path, { recursive: true });
}

/** Files of the metadata, names that no volume can have, and what is not of the location at all. */
async function passOthers(bed: Bed): Promise<void> {
  const { backend } = bed.row;
  const layout = bed.isPool ? [] : ["layout:", "  fs: meta/data"];
  const config = bed.writeConfig("layout", layout);
  await createVolume(bed, "web");
  const long = "x".repeat(100);
  const names = ["-x", "a b", ".hidden", "x.tmp", "y".repeat(129)];
  // Directories that lead to nothing: too deep, and too long a way.
  const found = ["p/1/2/3/4/5/6/7/8", `p/${long}/${long}/${long}`, "p/meta/data", "meta/data/p"];
  for (const name of found) mkdirSync(join(bed.location, name), { recursive: true });
  for (const name of listWays(found.filter((way) => way.startsWith("p/"))))
    run("setfattr", "-n", "trusted.mosaic.parent", "-v", "found", join(bed.location, name));
  for (const name of names) makeForeign(bed, name);
  symlinkSync("web", join(bed.location, "link"));
  run("mkfifo", join(bed.location, "fifo"));
  run("mknod", join(bed.location, "device"), "b", "7", "0");
  writeFileSync(join(bed.location, "vm.json"), backend === "loop" ? "{}" : "x".repeat(512));
  writeFileSync(join(bed.location, "empty"), "");
  mountBelow(bed);
  expect(await checkOnly(bed, config)).toEqual([]);
  expect(await checkAndRepair(bed, config)).toEqual([]);
  expect(await listNames(bed)).toEqual(["web"]);
}

/** Each directory on the ways; without a mark a plain mosaic would take the first for a foreign volume. */
function listWays(names: readonly string[]): string[] {
  const ways = names.flatMap((name) => name.split("/").map((_, end, all) => all.slice(0, end + 1).join("/")));
  return [...new Set(ways)];
}

/** A filesystem without attributes, one with a foreign object in it, and a volume once more. */
function mountBelow(bed: Bed): void {
  const [simple = "", other = "", again = ""] = ["simple", "other", "again"].map((name) => {
    const path = join(bed.location, "p", name);
    if (name === "again" && statSync(join(bed.location, "web")).isFile()) writeFileSync(path, "");
    else mkdirSync(path);
    return path;
  });
  run("mount", "-t", "ramfs", "-o", "mode=755", "none", simple);
  run("mount", "-t", "tmpfs", "-o", "mode=755", "none", other);
  mkdirSync(join(other, "volume"));
  run("truncate", "-s", "1M", join(other, "image"));
  run("mount", "--bind", join(bed.location, "web"), again);
}
