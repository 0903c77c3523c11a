import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { listObjects } from "../../src/backends/dmthin/objects.ts";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { findMappedDevice } from "../../src/system/devicemapper.ts";
import { BEDS, type Bed, describeOnBed, dmsetup, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { describeInGuest } from "../support/guest.ts";

// What can go wrong between a thin pool and the list of its volumes.

const MIB = 1024 ** 2;
const FS = { kind: "fs", sizeBytes: 16 * MIB } as const;
const DISK = { kind: "disk", sizeBytes: 16 * MIB } as const;

describeInGuest("thin pools", () => {
  describeOnBed(BEDS.dmthin[0], (bed) => {
    afterEach(() => clearBed(bed));
    describe("kills", () => testKills(bed));
    describe("ids", () => testIds(bed));
    describe("a pool and a list that do not belong together", () => testMismatch(bed));
    describe("a sick pool", () => testSick(bed));
    describe("locations", () => testLocations(bed));
    describe("sizes", () => testSizes(bed));
    test("what a dropped volume held is never shown in a new one", () => testZeroing(bed));
    test("the metadata is a filesystem on the device 0", () => testMetadata(bed));
  });
});

const poolOf = (bed: Bed) => basename(bed.configuredLocation);
const statePath = (bed: Bed) => join(bed.directory, "state");
const readTransaction = (bed: Bed) => Number(dmsetup("status", poolOf(bed)).split(" ")[3]);

/** The ids of the devices in the pool, by its own tool. */
function readIds(bed: Bed): number[] {
  const pool = poolOf(bed);
  const metadata = run("losetup", "-n", "-O", "NAME", "-j", join(bed.directory, "pool-metadata")).trim();
  dmsetup("message", pool, "0", "reserve_metadata_snap");
  try {
    const lines = run("thin_ls", "-m", "--no-headers", "--format", "DEV", metadata).split("\n");
    return lines.flatMap((line) => (line.trim() ? [Number(line)] : []));
  } finally {
    dmsetup("message", pool, "0", "release_metadata_snap");
  }
}

/** The list and the pool say the same, and nothing is left over. */
async function expectWhole(bed: Bed, mosaic: Mosaic): Promise<void> {
  const objects = [...listObjects(bed.location)].map(({ id }) => id).sort((one, other) => one - other);
  expect(readIds(bed).filter((id) => id !== 0)).toEqual(objects);
  const ledger = JSON.parse(readFileSync(join(statePath(bed), "pool"), "utf8"));
  expect([ledger.transaction, ledger.next]).toContain(readTransaction(bed));
  const { findings } = await mosaic.check();
  expect(findings.filter(({ severity }) => severity === "problem")).toEqual([]);
}

/** Runs an action that is killed after its step `at`; false when it had fewer. */
function killAt(bed: Bed, at: number, action: string, values: object): boolean {
  const child = join(import.meta.dir, "../support/faultchild.ts");
  const argv = [
    process.execPath,
    child,
    bed.config,
    "kill-after",
    String(at),
    action,
    JSON.stringify(values),
  ];
  const result = Bun.spawnSync(argv, { timeout: 120_000 });
  if (result.signalCode === "SIGKILL") return true;
  expect(result.exitCode, result.stderr.toString()).toBe(0);
  return false;
}

function testKills(bed: Bed): void {
  test("a create that is killed at any step is undone by the next, and no id is lost", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("first", DISK);
    let kills = 0;
    for (let at = 1; killAt(bed, at, "create", { kind: "disk", volume: "new", sizeBytes: 16 * MIB }); at++) {
      kills++;
      if (mosaic.haveVolume("new").exists) await mosaic.dropVolume("new");
      else await mosaic.createVolume("other", DISK).then(() => mosaic.dropVolume("other"));
      await expectWhole(bed, mosaic);
    }
    expect(kills).toBeGreaterThan(8);
  });

  test("a clone that is killed leaves no origin suspended", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    let kills = 0;
    for (let at = 5; killAt(bed, at, "clone", { origin: "web", volume: "copy" }) && at < 11; at++) {
      kills++;
      writeFileSync(join(mountPoint, "file"), `written after kill ${at}`);
      run("sync", "-f", mountPoint);
      if (mosaic.haveVolume("copy").exists) await mosaic.dropVolume("copy");
      else await mosaic.createVolume("other", DISK).then(() => mosaic.dropVolume("other"));
      await expectWhole(bed, mosaic);
    }
    expect(kills).toBeGreaterThan(4);
    if (mosaic.haveVolume("copy").exists) await mosaic.dropVolume("copy");
    await mosaic.unmountVolume("web", mountPoint);
  });

  test("a drop that is killed is finished by the next", async () => {
    await using mosaic = await openMosaic(bed.config);
    for (let at = 3; ; at++) {
      if (!mosaic.haveVolume("web").exists) await mosaic.createVolume("web", DISK);
      const isKilled = killAt(bed, at, "drop", { volume: "web" });
      await mosaic.createVolume("other", DISK).then(() => mosaic.dropVolume("other"));
      await expectWhole(bed, mosaic);
      if (!isKilled) break;
      expect(at).toBeLessThan(20);
    }
  });
}

function testIds(bed: Bed): void {
  test("the lowest free id is used, and devices of others are respected", async () => {
    await using mosaic = await openMosaic(bed.config);
    for (const name of ["a", "b", "c"]) await mosaic.createVolume(name, DISK);
    await mosaic.dropVolume("b");
    dmsetup("message", poolOf(bed), "0", "create_thin 2");
    await mosaic.createVolume("d", DISK);
    expect([...listObjects(bed.location)].map(({ id }) => id).sort()).toEqual([1, 3, 4]);
    expect(readIds(bed)).toEqual([1, 2, 3, 4]);
    const { problems, findings } = await mosaic.check();
    expect(problems).toBe(0);
    expect(findings).toContainEqual(expect.objectContaining({ code: "foreign-device", subject: "device 2" }));
    for (const name of ["a", "c", "d"]) await mosaic.dropVolume(name);
    expect(readIds(bed)).toEqual([2]);
    dmsetup("message", poolOf(bed), "0", "delete 2");
  });
}

function testMismatch(bed: Bed): void {
  test("a transaction id that another tool changed stops every change, until it is repaired", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", FS);
    const now = readTransaction(bed);
    dmsetup("message", poolOf(bed), "0", `set_transaction_id ${now} ${now + 7}`);
    const before = readIds(bed);
    const error = await expectError("DAMAGED", () => mosaic.createVolume("new", DISK));
    expect(error.message).toContain(String(now + 7));
    expect(error.message).toContain(String(now));
    expect(readIds(bed)).toEqual(before);
    expect(mosaic.listVolumes().map(({ name }) => String(name))).toEqual(["web"]);
    expect((await mosaic.check()).findings.map(({ code }) => code)).toContain("pool-differs");
    expect((await mosaic.check({ repair: true })).problems).toBe(0);
    await mosaic.createVolume("new", DISK);
    await expectWhole(bed, mosaic);
  });

  test("a list that is lost is built from the pool, and its volumes are adopted", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    writeFileSync(join(mountPoint, "file"), "precious");
    await mosaic.unmountVolume("web", mountPoint);
    const [object] = [...listObjects(bed.location)];
    rmSync(join(statePath(bed), "pool"));
    rmSync(join(bed.location, "web"));
    expect((await expectError("DAMAGED", () => mosaic.createVolume("new", DISK))).message).toContain(
      "check --repair",
    );
    await mosaic.check({ repair: true });
    const id = `id-${object?.id}`;
    const { findings } = await mosaic.check();
    expect(findings).toContainEqual(
      expect.objectContaining({ code: "foreign", subject: id, advice: `moctl ${bed.config} adopt fs ${id}` }),
    );
    await mosaic.createVolume("new", DISK);
    const adopted = await mosaic.adoptVolume(id, "fs");
    expect(adopted).toMatchObject({ filesystem: "ext4", sizeBytes: FS.sizeBytes });
    await mosaic.mountVolume(id, mountPoint);
    expect(readFileSync(join(mountPoint, "file"), "utf8")).toBe("precious");
    await mosaic.unmountVolume(id, mountPoint);
    await mosaic.dropVolume(id);
    await mosaic.dropVolume("new");
    await expectWhole(bed, mosaic);
  });
}

function testSick(bed: Bed): void {
  test("a pool above its limits is NO_SPACE, and drop works", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "disk", sizeBytes: 64 * MIB });
    const device = await mosaic.attachVolume("web");
    run("dd", "if=/dev/urandom", `of=${device}`, "bs=1M", "count=40", "conv=fsync", "status=none");
    await mosaic.detachVolume("web");
    const config = bed.writeConfig("limited", ["limits: {data: 1}"]);
    await using limited = await openMosaic(config);
    const error = await expectError("NO_SPACE", () => limited.createVolume("new", DISK));
    expect(error.message).toContain("the limit is 1 %");
    expect(limited.haveVolume("new").exists).toBe(false);
    expect((await limited.check()).findings.map(({ code }) => code)).toContain("pool-full");
    await limited.dropVolume("web");
    await limited.createVolume("new", DISK);
    await limited.dropVolume("new");
  });

  test("sizes beyond what may be promised are NO_SPACE", async () => {
    await using mosaic = await openMosaic(bed.writeConfig("committed", ["limits: {overcommit: 100}"]));
    await mosaic.createVolume("web", { kind: "disk", sizeBytes: 2048 * MIB });
    await expectError("NO_SPACE", () => mosaic.createVolume("new", { kind: "disk", sizeBytes: 2048 * MIB }));
    await expectError("NO_SPACE", () => mosaic.resizeVolume("web", 4096 * MIB));
    expect(mosaic.listVolumes()).toHaveLength(1);
    await mosaic.dropVolume("web");
  });

  test("a pool that is not active is made so from its devices, not for a list", async () => {
    const loops = ["pool-metadata", "pool-data"].map((name) =>
      run("losetup", "-n", "-O", "NAME", "-j", join(bed.directory, name)).trim(),
    );
    const pool = `pool: {metadata: ${loops[0]}, data: ${loops[1]}, blockSize: 64K}`;
    const config = bed.writeConfig("devices", [pool]);
    await using mosaic = await openMosaic(config);
    await mosaic.createVolume("web", DISK);
    dmsetup("remove", poolOf(bed));
    expect(mosaic.listVolumes().map(({ name }) => String(name))).toEqual(["web"]);
    expect(findMappedDevice({ name: poolOf(bed) })).toBeUndefined();
    await expectError("UNAVAILABLE", () => openMosaic(bed.config));
    await mosaic.attachVolume("web");
    await mosaic.detachVolume("web");
    await mosaic.dropVolume("web");
    await expectWhole(bed, mosaic);
  });
}

function testLocations(bed: Bed): void {
  const write = (location: string) => {
    const path = join(bed.directory, "other.mos");
    writeFileSync(path, `type: thin\nlocation: ${location}\nstate: ./state\n`, { mode: 0o644 });
    return path;
  };

  test("a directory, a plain device and another target are no thin pools", async () => {
    const loop = run("losetup", "-n", "-O", "NAME", "-j", join(bed.directory, "pool-data")).trim();
    for (const location of [bed.directory, loop])
      await expectError("INVALID_CONFIG", () => openMosaic(write(location)));
    dmsetup("create", "mosaic-test-zero", "--table", "0 8 zero");
    try {
      const error = await expectError("INVALID_CONFIG", () =>
        openMosaic(write("/dev/mapper/mosaic-test-zero")),
      );
      expect(error.message).toContain("target zero");
    } finally {
      dmsetup("remove", "mosaic-test-zero");
    }
    expect(
      (await expectError("UNAVAILABLE", () => openMosaic(write("/dev/mapper/missing")))).message,
    ).toContain("dmsetup create");
    expect(existsSync("/dev/mapper/missing")).toBe(false);
  });
}

function testSizes(bed: Bed): void {
  test.each(["ext4", "xfs", "btrfs"] as const)(
    "%s grows in use and out of use, and keeps its files",
    async (inside) => {
      const start = { ext4: 16, xfs: 300, btrfs: 256 }[inside] * MIB;
      await using mosaic = await openMosaic(bed.writeConfig(inside, [`default_fs: ${inside}`]));
      const mountPoint = bed.makeMountPoint();
      const readBlocks = () => Number(run("stat", "-f", "-c", "%b", mountPoint));
      await mosaic.createVolume("web", { kind: "fs", sizeBytes: start });
      await mosaic.mountVolume("web", mountPoint);
      writeFileSync(join(mountPoint, "file"), "kept");
      const before = readBlocks();
      await mosaic.resizeVolume("web", start + 64 * MIB);
      const grown = readBlocks();
      expect(grown).toBeGreaterThan(before);
      await mosaic.unmountVolume("web", mountPoint);
      await mosaic.resizeVolume("web", start + 128 * MIB);
      await mosaic.mountVolume("web", mountPoint);
      expect(readBlocks()).toBeGreaterThan(grown);
      expect(readFileSync(join(mountPoint, "file"), "utf8")).toBe("kept");
      await mosaic.unmountVolume("web", mountPoint);
      expect((await mosaic.statVolume("web")).virtualBytes).toBe(start + 128 * MIB);
      const shrink = () => mosaic.resizeVolume("web", start + 32 * MIB, { shrink: true });
      if (inside === "xfs") await expectError("UNSUPPORTED", shrink);
      else {
        await expectError("INVALID_ARGUMENT", () => mosaic.resizeVolume("web", start + 32 * MIB));
        await shrink();
      }
      await mosaic.mountVolume("web", mountPoint);
      expect(readFileSync(join(mountPoint, "file"), "utf8")).toBe("kept");
      if (inside !== "xfs") expect(readBlocks()).toBeLessThan(grown);
      await mosaic.unmountVolume("web", mountPoint);
      await expectWhole(bed, mosaic);
      await mosaic.dropVolume("web");
      expect(readIds(bed).filter((id) => id !== 0)).toEqual([]);
    },
  );

  test("an attached disk grows under its users", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("vm", DISK);
    const device = await mosaic.attachVolume("vm");
    await mosaic.resizeVolume("vm", 32 * MIB);
    expect(run("blockdev", "--getsize64", device).trim()).toBe(String(32 * MIB));
    await expectError("UNSUPPORTED", () => mosaic.resizeVolume("vm", 16 * MIB, { shrink: true }));
    await mosaic.detachVolume("vm");
    await mosaic.dropVolume("vm");
  });
}

async function testZeroing(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("secret", DISK);
  const device = await mosaic.attachVolume("secret");
  run("sh", "-c", `yes secret | dd of=${device} bs=1M count=16 iflag=fullblock conv=fsync status=none`);
  await mosaic.detachVolume("secret");
  await mosaic.dropVolume("secret");
  await mosaic.createVolume("new", DISK);
  const other = await mosaic.attachVolume("new");
  // One byte in each block makes the pool map it; what else is in the block is then what it was given as.
  for (let at = 0; at < 16 * MIB; at += 64 * 1024)
    run(
      "dd",
      "if=/dev/zero",
      `of=${other}`,
      "bs=512",
      "count=1",
      `seek=${at / 512}`,
      "conv=notrunc",
      "status=none",
    );
  run("sync", other);
  expect(readFileSync(other).every((byte) => byte === 0)).toBe(true);
  await mosaic.detachVolume("new");
  await mosaic.dropVolume("new");
}

async function testMetadata(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountMetadata(mountPoint);
  writeFileSync(join(mountPoint, "vm.json"), "{}");
  await mosaic.unmountMetadata(mountPoint);
  expect(readIds(bed)).toContain(0);
  await mosaic.mountMetadata(mountPoint, { readOnly: true });
  expect(readFileSync(join(mountPoint, "vm.json"), "utf8")).toBe("{}");
  await mosaic.unmountMetadata(mountPoint);
  await expectError("NOT_FOUND", () => mosaic.unmountMetadata(mountPoint));
  await expectWhole(bed, mosaic);
}
