import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ErrorCode, type Mosaic, type MosaicError, openMosaic } from "../../src/index.ts";
import { BEDS, type Bed, describeOnBed, dmsetup, run } from "../support/beds.ts";
import { expectError, until } from "../support/expect.ts";
import { listProblems, loadTable, loopOf, poolOf, readStatus, trySend } from "../support/pools.ts";

// Thin pools that are full, or sick, for real.

const MIB = 1024 ** 2;
const KIB = 1024;
const FS = { kind: "fs", sizeBytes: 8 * MIB } as const;
const DISK = { kind: "disk", sizeBytes: 8 * MIB } as const;

describeOnBed(
  BEDS.dmthin[0],
  (bed) => {
    test("metadata that fails", () => testSick(bed));
  },
  64 * MIB,
  4 * MIB,
);
describeOnBed(
  BEDS.dmthin[0],
  (bed) => {
    test("data that is full", () => testFullData(bed));
    test("an origin whose data does not fit any more is not cloned", () => testFullOrigin(bed));
  },
  16 * MIB,
  4 * MIB,
);
describeOnBed(
  BEDS.dmthin[0],
  (bed) => test("metadata that is full", () => testFullMetadata(bed)),
  64 * MIB,
  256 * KIB,
);

/** No change is made of the volume "web", or beside it; gives the errors. */
async function expectNoChange(
  bed: Bed,
  mosaic: Mosaic,
  code: ErrorCode,
  alsoDrop = true,
): Promise<MosaicError[]> {
  const before = readStatus(bed).join(" ");
  const errors = [
    await expectError(code, () => mosaic.createVolume("new", DISK)),
    await expectError(code, () => mosaic.cloneVolume("web", "new")),
    await expectError(code, () => mosaic.resizeVolume("web", 16 * MIB)),
    await expectError(code, () => mosaic.attachVolume("web")),
  ];
  if (alsoDrop) errors.push(await expectError(code, () => mosaic.dropVolume("web")));
  expect(mosaic.listVolumes().map(({ name, sizeBytes }) => [String(name), sizeBytes])).toContainEqual([
    "web",
    8 * MIB,
  ]);
  expect(mosaic.haveVolume("new").exists).toBe(false);
  expect(readStatus(bed).join(" ")).toBe(before);
  return errors;
}

async function testSick(bed: Bed): Promise<void> {
  const pool = poolOf(bed);
  const metadata = loopOf(bed, "metadata");
  const sectors = (4 * MIB) / 512;
  const [below, table] = [`${pool}-below`, dmsetup("table", pool).trim()];
  dmsetup("remove", pool);
  dmsetup("create", below, "--table", `0 ${sectors} linear ${metadata} 0`);
  const activate = () =>
    dmsetup("create", pool, "--table", table.replace(/thin-pool \S+/, `thin-pool /dev/mapper/${below}`));
  try {
    activate();
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    writeFileSync(join(mountPoint, "file"), "kept");
    await mosaic.unmountVolume("web", mountPoint);

    // Active, and read-only because somebody said so.
    const live = dmsetup("table", pool).trim();
    loadTable(pool, live.replace(/ 0 *$/, " 1 read_only"));
    for (const error of await expectNoChange(bed, mosaic, "DAMAGED"))
      expect(error.message).toContain("without the word read_only");
    loadTable(pool, live);

    loadTable(pool, live.replace(/ 0 *$/, " 1 skip_block_zeroing"));
    expect(await listProblems(mosaic)).toEqual(["pool-unzeroed"]);
    loadTable(pool, live);

    // Writing fails, and then the kernel wants a check.
    loadTable(below, `0 ${sectors} flakey ${metadata} 0 0 60 1 error_writes`);
    const failed = await expectError("DAMAGED", () => mosaic.createVolume("new", DISK));
    expect(failed.message).toContain("needs a check");
    loadTable(below, `0 ${sectors} linear ${metadata} 0`);
    expect(mosaic.info().pool).toMatchObject({ mode: "ro", needsCheck: true });
    for (const error of await expectNoChange(bed, mosaic, "DAMAGED"))
      expect(error.message).toContain(`dmsetup remove ${pool}), then thin_check --clear-needs-check-flag`);
    expect(await listProblems(mosaic)).toEqual(["pool-sick"]);
    await mosaic.mountVolume("web", mountPoint, { readOnly: true });
    expect(readFileSync(join(mountPoint, "file"), "utf8")).toBe("kept");
    await mosaic.unmountVolume("web", mountPoint);

    // As the message says.
    dmsetup("remove", pool);
    run("thin_check", "-q", "--clear-needs-check-flag", `/dev/mapper/${below}`);
    activate();
    await mosaic.createVolume("new", DISK);
    await mosaic.dropVolume("new");

    // Reading fails too.
    loadTable(below, `0 ${sectors} error`);
    await expectError("DAMAGED", () => mosaic.createVolume("new", DISK));
    expect(mosaic.info().pool).toMatchObject({ mode: "failed", dataBytes: 0 });
    for (const error of await expectNoChange(bed, mosaic, "DAMAGED"))
      expect(error.message).toContain("has failed");
    await expectError("DAMAGED", () => mosaic.mountVolume("web", mountPoint, { readOnly: true }));
    expect(await listProblems(mosaic)).toEqual(["pool-sick"]);
  } finally {
    dmsetup("remove", "--retry", pool);
    dmsetup("remove", "--retry", below);
  }
}

async function testFullData(bed: Bed): Promise<void> {
  const pool = poolOf(bed);
  await using mosaic = await openMosaic(bed.config);
  for (const name of ["ballast", "web", "big"]) await mosaic.createVolume(name, DISK);
  await mosaic.resizeVolume("big", 32 * MIB);
  const write = (device: string, count: number, seek = 0) =>
    Bun.spawn(
      ["dd", "if=/dev/zero", `of=${device}`, "bs=1M", `count=${count}`, `seek=${seek}`, "oflag=direct"],
      { stderr: "pipe" },
    );
  expect(await write(await mosaic.attachVolume("ballast"), 8).exited).toBe(0);
  await mosaic.detachVolume("ballast");

  // Above the limit, and not full.
  await using limited = await openMosaic(bed.writeConfig("limited", ["limits: {data: 50}"]));
  const over = await expectError("NO_SPACE", () => limited.createVolume("new", DISK));
  expect(over.message).toContain("has used 50 % of its data, and the limit is 50 %");
  await expectError("NO_SPACE", () => limited.resizeVolume("web", 16 * MIB));
  expect(await listProblems(limited)).toEqual(["pool-full"]);
  await limited.attachVolume("web");
  await limited.detachVolume("web");

  // Full, and a writer waits: nobody else does, and a drop lets him go on.
  const writer = write(await mosaic.attachVolume("big"), 12);
  await until("a full pool", () => mosaic.info().pool?.mode === "out-of-data-space");
  for (const error of await expectNoChange(bed, mosaic, "NO_SPACE", false))
    expect(error.message).toContain("is full");
  await mosaic.dropVolume("ballast");
  expect(await writer.exited).toBe(0);
  expect(mosaic.info().pool?.mode).toBe("rw");

  // Full, and a writer gets an error.
  const table = dmsetup("table", pool).trim();
  loadTable(pool, table.replace(/ 0 *$/, " 1 error_if_no_space"));
  const device = (await mosaic.statVolume("big")).attachedAs ?? "";
  expect(await write(device, 8, 12).exited).not.toBe(0);
  await expectNoChange(bed, mosaic, "NO_SPACE", false);
  await mosaic.detachVolume("big");
  await mosaic.dropVolume("big");
  expect(mosaic.info().pool).toMatchObject({ mode: "rw", usedDataBytes: 0 });
  await mosaic.dropVolume("web");
  loadTable(pool, table);
}

/** What a snapshot has to write first may fill the pool; the kernel waits for its parameter, in seconds, then the data is lost. */
async function testFullOrigin(bed: Bed): Promise<void> {
  const parameter = "/sys/module/dm_thin_pool/parameters/no_space_timeout";
  const before = readFileSync(parameter, "utf8");
  writeFileSync(parameter, "1");
  try {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", { kind: "fs", sizeBytes: 64 * MIB });
    await mosaic.mountVolume("web", mountPoint);
    writeFileSync(join(mountPoint, "file"), Buffer.alloc(24 * MIB, 1));
    const error = await expectError("NO_SPACE", () => mosaic.cloneVolume("web", "copy"));
    expect(error.message).toContain("is full");
    expect(mosaic.haveVolume("copy").exists).toBe(false);
    expect(dmsetup("info", "-c", "--noheadings", "-o", "suspended")).not.toContain("Suspended");
    await mosaic.unmountVolume("web", mountPoint);
    await mosaic.dropVolume("web");
    expect(mosaic.info().pool).toMatchObject({ mode: "rw", usedDataBytes: 0 });
  } finally {
    writeFileSync(parameter, before);
  }
}

async function testFullMetadata(bed: Bed): Promise<void> {
  const pool = poolOf(bed);
  await using mosaic = await openMosaic(bed.config);
  await mosaic.createVolume("web", DISK);
  await using limited = await openMosaic(bed.writeConfig("limited", ["limits: {metadata: 20}"]));
  const over = await expectError("NO_SPACE", () => limited.createVolume("new", DISK));
  expect(over.message).toContain("of its metadata, and the limit is 20 %");
  let id = 100;
  while (trySend(pool, `create_thin ${id}`)) id++;
  expect(mosaic.info().pool).toMatchObject({ mode: "ro", needsCheck: false });
  for (const error of await expectNoChange(bed, mosaic, "NO_SPACE"))
    expect(error.message).toContain("make its metadata device larger");

  // As the message says.
  run("truncate", "-s", String(MIB), join(bed.directory, "pool-metadata"));
  run("losetup", "-c", loopOf(bed, "metadata"));
  loadTable(pool, dmsetup("table", pool).trim());
  expect(mosaic.info().pool).toMatchObject({ mode: "rw", metadataBytes: MIB });
  await mosaic.dropVolume("web");
}
