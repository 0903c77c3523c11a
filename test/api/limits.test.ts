import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { requireKind, requirePossible } from "../../src/api/limits.ts";
import { openMosaic } from "../../src/api/open.ts";
import type { Limits } from "../../src/backends/backend.ts";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import type { VolumeRecord } from "../../src/location/record.ts";
import { describeOnBed } from "../support/beds.ts";

const MB = 1024 ** 2;
const DISKS: Limits = {
  kinds: ["fs", "disk"],
  sizeIsRequired: true,
  sizeStepBytes: 4096,
  sizeMaxBytes: 1024 ** 4,
  filesystems: { ext4: 8 * MB, xfs: 300 * MB },
};
const TREES: Limits = {
  kinds: ["fs"],
  sizeIsRequired: false,
  sizeStepBytes: 1,
  sizeMaxBytes: Number.MAX_SAFE_INTEGER,
  filesystems: {},
};

const RECORD: VolumeRecord = {
  id: "0b2c6a4e-1a2b-4c3d-8e4f-000000000001",
  name: parseVolumeName("web"),
  storedName: parseStoredName("web"),
  backend: "loop",
  kind: "fs",
  filesystem: "ext4",
  sizeBytes: 8 * MB,
  parentId: null,
  createdAt: "2026-11-27T12:34:56.789Z",
  labels: {},
};

describe("a size is possible", () => {
  test.each<[Limits, Partial<VolumeRecord>]>([
    [DISKS, { sizeBytes: 8 * MB }],
    [DISKS, { sizeBytes: 8 * MB + 4096 }],
    [DISKS, { filesystem: "xfs", sizeBytes: 300 * MB }],
    [DISKS, { kind: "disk", filesystem: null, sizeBytes: 4096 }],
    [TREES, { filesystem: null, sizeBytes: null }],
    [TREES, { filesystem: null, sizeBytes: 1 }],
  ])("%j %j", (limits, change) => {
    expect(() => requirePossible({ ...RECORD, ...change }, limits, limits === DISKS)).not.toThrow();
  });
});

describe("a size is refused with the one that would do:", () => {
  test.each<[Partial<VolumeRecord>, string]>([
    [{ sizeBytes: null }, "a loop volume needs a size, such as 512M"],
    [{ sizeBytes: 8 * MB + 1 }, "sizes here are multiples of 4096 bytes; the next is 8392704"],
    [{ sizeBytes: 8 * MB - 4096 }, "ext4 needs at least 8M"],
    [{ filesystem: "xfs", sizeBytes: 8 * MB }, "invalid size 8M: xfs needs at least 300M"],
    [{ kind: "disk", filesystem: null, sizeBytes: 512 }, "the next is 4096"],
    [{ sizeBytes: -4096 }, "invalid size"],
    [{ sizeBytes: 2 * 1024 ** 4 }, "invalid size 2T: the largest here is 1099511627776 bytes (1T)"],
  ])("%j", (change, message) => {
    expect(() => requirePossible({ ...RECORD, ...change }, DISKS, true)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(message) }),
    );
  });
});

test("a kind that a backend has not is UNSUPPORTED", () => {
  expect(() => requireKind("plain", "disk", TREES)).toThrow(
    expect.objectContaining({
      code: "UNSUPPORTED",
      message: "a plain volume cannot be a disk: expected fs",
      details: { kind: "disk", kinds: ["fs"] },
    }),
  );
  expect(() => requirePossible({ ...RECORD, kind: "disk" }, TREES, false)).toThrow("cannot be a disk");
});

describeOnBed(
  { name: "sizes from a program", backend: "plain", filesystem: "ext4" },
  (bed) => {
    test("that are no sizes make no volume, also where a size is only recorded", async () => {
      await using mosaic = await openMosaic(bed.config);
      for (const sizeBytes of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
        const created = mosaic.createVolume("web", { kind: "fs", sizeBytes });
        await expect(created).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
        expect(readdirSync(bed.location)).toEqual([]);
      }
    });
  },
  16 * MB,
);
