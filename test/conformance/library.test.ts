import { afterEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { ALL_BEDS, describeOnBed } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";

// Volumes as objects of the library.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("a volume is opened and used by its own methods", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      await expectError("NOT_FOUND", () => mosaic.openVolume("web"));
      const made = await mosaic.createVolume("web", { kind: "fs", sizeBytes: 32 * 1024 ** 2 });
      const web = await mosaic.openVolume("web");
      expect(web.record).toEqual(made);
      await web.mount(mountPoint);
      writeFileSync(join(mountPoint, "data"), "kept");
      await expectError("BUSY", () => web.drop());
      await web.unmount(mountPoint);
      await web.mount(mountPoint, { readOnly: true });
      expect(() => writeFileSync(join(mountPoint, "data"), "lost")).toThrow("EROFS");
      await web.unmount(mountPoint);
      if (mosaic.info().features.includes("clone")) {
        const copy = await web.clone("copy");
        expect(copy.record.parentId).toBe(made.id);
        await copy.mount(mountPoint);
        expect(readFileSync(join(mountPoint, "data"), "utf8")).toBe("kept");
        await copy.unmount(mountPoint);
        await copy.drop();
      }
      if (mosaic.info().features.includes("bdev")) {
        expect(await web.attach()).toMatch(/^\/dev\/loop\d+$/);
        await web.detach();
      }
      await web.drop();
      await expectError("NOT_FOUND", () => web.mount(mountPoint));
      expect(mosaic.listVolumes()).toEqual([]);
    });
  });
}
