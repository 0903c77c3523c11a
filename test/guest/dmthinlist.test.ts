import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { findMappedDevice } from "../../src/system/devicemapper.ts";
import { BEDS, type Bed, describeOnBed, dmsetup, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import {
  expectPoolSame,
  listProblems,
  loopOf,
  poolOf,
  readIds,
  readTransaction,
  statePath,
} from "../support/pools.ts";

// A thin pool and the list of its volumes: whether they belong together, and what the config says of them.

const MIB = 1024 ** 2;
const FS = { kind: "fs", sizeBytes: 8 * MIB } as const;
const DISK = { kind: "disk", sizeBytes: 8 * MIB } as const;

describeOnBed(BEDS.dmthin[0], (bed) => {
  afterEach(() => clearBed(bed));
  describe("locations", () => testLocations(bed));
  describe("a pool and a list that do not belong together", () => testMismatch(bed));
  test("sizes beyond what may be promised are NO_SPACE", () => testPromises(bed));
  test("without an answer of udev everything works, and nothing of it is left", () => testUdev(bed));
  describe("a pool that is not active", () => testInactive(bed));
  test("a pool of LVM is refused", () => testLvm(bed));
});

const namesOf = (mosaic: Mosaic) => mosaic.listVolumes().map(({ name }) => String(name));

function testLocations(bed: Bed): void {
  const open = (location: string, ...lines: string[]) => {
    const path = join(bed.directory, "other.mos");
    const text = ["type: thin", `location: '${location}'`, "state: ./state", ...lines, ""].join("\n");
    writeFileSync(path, text, { mode: 0o644 });
    return openMosaic(path);
  };

  test("a directory, a plain device, another target and nothing are no thin pools", async () => {
    for (const location of [bed.directory, loopOf(bed, "data")])
      await expectError("INVALID_CONFIG", () => open(location));
    dmsetup("create", "mosaic-test-zero", "--table", "0 8 zero");
    try {
      const error = await expectError("INVALID_CONFIG", () => open("/dev/mapper/mosaic-test-zero"));
      expect(error.message).toContain("target zero");
    } finally {
      dmsetup("remove", "mosaic-test-zero");
    }
    const missing = await expectError("UNAVAILABLE", () => open("/dev/mapper/missing"));
    expect(missing.message).toContain("dmsetup create missing");
    expect(findMappedDevice({ name: "missing" })).toBeUndefined();
  });

  test("a name that device-mapper would write otherwise is used as it is, and not made", async () => {
    const pool = `pool: {metadata: ${loopOf(bed, "metadata")}, data: ${loopOf(bed, "data")}, blockSize: 64K}`;
    for (const location of ["/dev/mapper/a b", "/dev/mapper/a%b", "/dev/dm-7", "/dev/mapper/x/y"]) {
      const error = await expectError("INVALID_CONFIG", () => open(location, pool));
      expect(error.message).toContain("/dev/mapper/NAME");
    }
    dmsetup("--manglename", "none", "rename", poolOf(bed), "a b%");
    try {
      await using mosaic = await open("/dev/mapper/a b%");
      await mosaic.createVolume("web", DISK);
      await mosaic.dropVolume("web");
    } finally {
      dmsetup("--manglename", "none", "rename", "a b%", poolOf(bed));
    }
  });
}

function testMismatch(bed: Bed): void {
  test("a transaction id that another tool changed stops every change, until it is repaired", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", DISK);
    const now = readTransaction(bed);
    dmsetup("message", poolOf(bed), "0", `set_transaction_id ${now} ${now + 7}`);
    const error = await expectError("DAMAGED", () => mosaic.createVolume("new", DISK));
    expect(error.message).toContain(
      `its transaction id is ${now + 7}, and the list of volumes is of ${now};`,
    );
    await expectError("DAMAGED", () => mosaic.cloneVolume("web", "new"));
    await expectError("DAMAGED", () => mosaic.resizeVolume("web", 16 * MIB));
    await expectError("DAMAGED", () => mosaic.attachVolume("web"));
    await expectError("DAMAGED", () => mosaic.dropVolume("web"));
    expect(readIds(bed)).toEqual([1]);
    expect(() => mosaic.listVolumes()).toThrow("do not belong together");
    const { problems, findings } = await mosaic.check({ repair: true });
    expect(problems).toBe(0);
    expect(findings.map(({ code, isRepaired }) => isRepaired && code)).toContain("pool-differs");
    await mosaic.createVolume("new", DISK);
    expect(expectPoolSame(bed)).toEqual([1, 2]);
  });

  test("a list that was restored from a backup never shows one volume under the name of another", async () => {
    await using mosaic = await openMosaic(bed.config);
    const backup = join(bed.directory, "backup");
    for (const name of ["kept", "old"]) await mosaic.createVolume(name, DISK);
    run("cp", "-a", statePath(bed), backup);
    await mosaic.dropVolume("old");
    await mosaic.createVolume("new", DISK);
    writeDisk(await mosaic.attachVolume("new"), "of the new one");
    await mosaic.detachVolume("new");
    rmSync(join(bed.location, "new"));
    run("cp", "-a", `${backup}/.`, statePath(bed));
    await expectError("DAMAGED", () => mosaic.attachVolume("old"));
    await expectError("DAMAGED", () => mosaic.dropVolume("old"));
    const { findings } = await mosaic.check({ repair: true });
    expect(findings.filter(({ isRepaired }) => isRepaired).map(({ code }) => code)).toEqual(["pool-differs"]);
    expect(findings.map(({ code }) => code)).toContain("device-missing");
    const gone = await expectError("DAMAGED", () => mosaic.attachVolume("old"));
    expect(gone.message).toContain("drop the volume");
    expect(await listProblems(mosaic)).toEqual(["device-missing"]);
    await mosaic.dropVolume("old");
    await mosaic.adoptVolume("id-2", "disk");
    expect(readDisk(await mosaic.attachVolume("id-2"))).toStartWith("of the new one");
    await mosaic.detachVolume("id-2");
    expect(expectPoolSame(bed)).toEqual([1, 2]);
  });

  test("a list that is lost is built from the pool; its volumes are adopted, the metadata is found", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    const file = join(mountPoint, "file");
    await mosaic.mountMetadata(mountPoint);
    writeFileSync(file, "metadata");
    await mosaic.unmountMetadata(mountPoint);
    await expectError("NOT_FOUND", () => mosaic.unmountMetadata(mountPoint));
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    writeFileSync(file, "precious");
    await mosaic.unmountVolume("web", mountPoint);
    for (const name of ["pool", "metadata", "volumes/web"]) rmSync(join(statePath(bed), name));
    const error = await expectError("DAMAGED", () => mosaic.createVolume("new", DISK));
    expect(error.message).toContain("check --repair");
    expect(() => mosaic.listVolumes()).toThrow("there is no list");
    await expectError("DAMAGED", () => mosaic.mountMetadata(mountPoint));
    await mosaic.check({ repair: true });
    expect(readdirSync(bed.location)).toEqual(["id-1"]);
    const { findings } = await mosaic.check();
    expect(findings).toContainEqual(
      expect.objectContaining({
        code: "foreign",
        subject: "id-1",
        advice: `moctl ${bed.config} adopt fs id-1`,
      }),
    );
    const adopted = await mosaic.adoptVolume("id-1", "fs");
    expect(adopted).toMatchObject({ filesystem: "ext4", sizeBytes: FS.sizeBytes });
    await mosaic.mountVolume("id-1", mountPoint);
    expect(readFileSync(file, "utf8")).toBe("precious");
    await mosaic.unmountVolume("id-1", mountPoint);
    await mosaic.mountMetadata(mountPoint, { readOnly: true });
    expect(readFileSync(file, "utf8")).toBe("metadata");
    await mosaic.unmountMetadata(mountPoint);
    await mosaic.dropVolume("id-1");
    expect(readIds(bed)).toEqual([0]);
  });
}

async function testPromises(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.writeConfig("committed", ["limits: {overcommit: 100}"]));
  await mosaic.createVolume("web", { kind: "disk", sizeBytes: 2048 * MIB });
  await expectError("NO_SPACE", () => mosaic.createVolume("new", { kind: "disk", sizeBytes: 2048 * MIB }));
  await expectError("NO_SPACE", () => mosaic.cloneVolume("web", "new"));
  await expectError("NO_SPACE", () => mosaic.resizeVolume("web", 4096 * MIB));
  expect(namesOf(mosaic)).toEqual(["web"]);
}

/** A udev that was killed leaves its socket, and answers nobody. */
async function testUdev(bed: Bed): Promise<void> {
  const control = "/run/udev/control";
  const isDead = !existsSync(control);
  mkdirSync("/run/udev", { recursive: true });
  if (isDead) writeFileSync(control, "");
  try {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    await mosaic.cloneVolume("web", "copy");
    await mosaic.unmountVolume("web", mountPoint);
    await mosaic.attachVolume("copy");
    await mosaic.detachVolume("copy");
    await mosaic.dropVolume("copy");
    expect(dmsetup("udevcookies").trim().split("\n")).toHaveLength(1);
  } finally {
    if (isDead) rmSync(control);
  }
}

function testInactive(bed: Bed): void {
  const writeConfig = () => {
    const [metadata, data] = [loopOf(bed, "metadata"), loopOf(bed, "data")];
    return bed.writeConfig("devices", [`pool: {metadata: ${metadata}, data: ${data}, blockSize: 64K}`]);
  };

  test("is made so from its devices when it is needed, not for a list", async () => {
    const config = writeConfig();
    await using mosaic = await openMosaic(config);
    await mosaic.createVolume("web", DISK);
    dmsetup("remove", poolOf(bed));
    expect(namesOf(mosaic)).toEqual(["web"]);
    expect(mosaic.info().pool?.mode).toBe("inactive");
    expect(await listProblems(mosaic)).toEqual(["pool-inactive"]);
    expect(findMappedDevice({ name: poolOf(bed) })).toBeUndefined();
    await expectError("UNAVAILABLE", () => openMosaic(bed.config));
    await mosaic.attachVolume("web");
    expect(mosaic.info().pool).toMatchObject({ mode: "rw", transaction: readTransaction(bed) });
    await mosaic.detachVolume("web");
    await mosaic.dropVolume("web");
  });

  test("is made so in place of a node that a device left which is gone", async () => {
    await using mosaic = await openMosaic(writeConfig());
    await mosaic.createVolume("web", DISK);
    const [major = ""] = String(findMappedDevice({ name: poolOf(bed) })?.number).split(":");
    dmsetup("remove", poolOf(bed));
    rmSync(bed.configuredLocation, { force: true });
    run("mknod", bed.configuredLocation, "b", major, "4095");
    await expectError("UNAVAILABLE", () => openMosaic(bed.config));
    await mosaic.attachVolume("web");
    await mosaic.detachVolume("web");
    await mosaic.dropVolume("web");
  });

  test("is not made so, and not formatted, when its metadata is damaged or empty", async () => {
    const metadata = join(bed.directory, "pool-metadata");
    await using mosaic = await openMosaic(writeConfig());
    await mosaic.createVolume("web", DISK);
    dmsetup("remove", poolOf(bed));
    cpSync(metadata, `${metadata}.sound`);
    for (const [from, bytes] of [
      ["/dev/urandom", "64K"],
      ["/dev/zero", "16M"],
    ] as const) {
      run(
        "dd",
        `if=${from}`,
        `of=${loopOf(bed, "metadata")}`,
        `bs=${bytes}`,
        "count=1",
        "conv=fsync",
        "status=none",
      );
      const before = run("sha256sum", metadata);
      for (const act of [
        () => mosaic.createVolume("new", DISK),
        () => mosaic.attachVolume("web"),
        () => mosaic.dropVolume("web"),
      ])
        expect((await expectError("DAMAGED", act)).message).toContain("thin_repair");
      expect(findMappedDevice({ name: poolOf(bed) })).toBeUndefined();
      expect(run("sha256sum", metadata)).toBe(before);
      expect(namesOf(mosaic)).toEqual(["web"]);
    }
    run("dd", `if=${metadata}.sound`, `of=${loopOf(bed, "metadata")}`, "bs=1M", "conv=fsync", "status=none");
    await mosaic.dropVolume("web");
  });
}

/** As the pool of LVM has its uuid; the last test, as a device keeps one that it has. */
async function testLvm(bed: Bed): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  dmsetup("rename", poolOf(bed), "--setuuid", `LVM-${"x".repeat(64)}-tpool`);
  for (const act of [() => openMosaic(bed.config), () => mosaic.createVolume("new", DISK)])
    expect((await expectError("UNSUPPORTED", act)).message).toContain("one of LVM");
}

function writeDisk(device: string, text: string): void {
  const argv = ["dd", `of=${device}`, "conv=fsync", "status=none"];
  Bun.spawnSync(argv, { stdin: Buffer.from(text.padEnd(4096)) });
}

function readDisk(device: string): string {
  return run("dd", `if=${device}`, "bs=4096", "count=1", "status=none");
}
