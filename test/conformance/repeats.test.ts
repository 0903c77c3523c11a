import { afterEach, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ActionName, runAction } from "../../src/api/actions.ts";
import { REPEATS } from "../../src/api/repeats.ts";
import { type Mosaic, MosaicError, openMosaic } from "../../src/index.ts";
import { ALL_BEDS, describeOnBed, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";

// A repeat that finds just what it asks for is a success; anything else in its place is an error.

type Values = Record<string, unknown>;

/** Runs an action that must fail; gives what a repeat of it answers, or throws. */
async function repeat(mosaic: Mosaic, action: ActionName, values: Values): Promise<object | undefined> {
  let error: unknown;
  try {
    await runAction(mosaic, action, values);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(MosaicError);
  return REPEATS[action]?.answer(mosaic, values, error as MosaicError);
}

const SIZE = 16 * 1024 ** 2;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("a create of what is there is compatible, or tells what differs", async () => {
      await using mosaic = await openMosaic(bed.config);
      const made = await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
      expect(await repeat(mosaic, "create", { kind: "fs", volume: "web", sizeBytes: SIZE })).toEqual(made);
      const other = { kind: "fs", volume: "web", sizeBytes: 2 * SIZE };
      const error = await expectError("ALREADY_EXISTS", () => repeat(mosaic, "create", other));
      expect(error.details.diff).toEqual({ sizeBytes: { asked: 2 * SIZE, found: SIZE } });
      mkdirSync(join(bed.location, "alien"));
      expect(
        await repeat(mosaic, "create", { kind: "fs", volume: "alien", sizeBytes: SIZE }),
      ).toBeUndefined();
    });

    test("a drop, umount or detach of what is absent has nothing to change; of what is foreign it is an error", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      expect(await repeat(mosaic, "drop", { volume: "none" })).toEqual({ volume: "none" });
      expect(await repeat(mosaic, "umount", { volume: "none", mountPoint })).toEqual({
        volume: "none",
        mountPoint,
      });
      await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
      expect(await repeat(mosaic, "umount", { volume: "web", mountPoint })).toEqual({
        volume: "web",
        mountPoint,
      });
      run("mount", "-t", "tmpfs", "alien", mountPoint);
      expect(await repeat(mosaic, "umount", { volume: "web", mountPoint })).toBeUndefined();
      run("umount", mountPoint);
      writeFileSync(join(bed.location, "file"), "");
      expect(await repeat(mosaic, "drop", { volume: "file" })).toBeUndefined();
    });

    test("a mount that is there as asked is a success, as something else an error", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
      await mosaic.mountVolume("web", mountPoint);
      const values = { volume: "web", mountPoint };
      expect(await repeat(mosaic, "mount", values)).toEqual({ ...values, readOnly: false });
      expect(await repeat(mosaic, "mount", { ...values, readOnly: true })).toBeUndefined();
      await mosaic.unmountVolume("web", mountPoint);
    });

    if (row.features.some((feature) => feature === "clone")) {
      test("a clone is compatible when it is of that origin", async () => {
        await using mosaic = await openMosaic(bed.config);
        for (const name of ["one", "two"]) await mosaic.createVolume(name, { kind: "fs", sizeBytes: SIZE });
        const clone = await mosaic.cloneVolume("one", "copy");
        expect(await repeat(mosaic, "clone", { origin: "one", volume: "copy" })).toEqual(clone);
        const error = await expectError("ALREADY_EXISTS", () =>
          repeat(mosaic, "clone", { origin: "two", volume: "copy" }),
        );
        expect(error.details.diff).toMatchObject({ parentId: { found: clone.parentId } });
        await expectError("ALREADY_EXISTS", () =>
          repeat(mosaic, "create", { kind: "fs", volume: "copy", sizeBytes: SIZE }),
        );
      });
    }

    if (row.features.some((feature) => feature === "bdev")) {
      test("an attach or detach that was done is a success", async () => {
        await using mosaic = await openMosaic(bed.config);
        const mountPoint = bed.makeMountPoint();
        await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
        expect(await repeat(mosaic, "detach", { volume: "web" })).toEqual({ volume: "web" });
        const device = await mosaic.attachVolume("web");
        expect(await repeat(mosaic, "attach", { volume: "web" })).toEqual({ volume: "web", device });
        expect(await repeat(mosaic, "attach", { volume: "web", readOnly: true })).toBeUndefined();
        expect(await repeat(mosaic, "attach", { volume: "web", export: "nbd" })).toBeUndefined();
        await mosaic.detachVolume("web");
        await mosaic.mountVolume("web", mountPoint, { readOnly: true });
        expect(await repeat(mosaic, "attach", { volume: "web" })).toBeUndefined();
        await mosaic.unmountVolume("web", mountPoint);
      });
    }
  });
}
