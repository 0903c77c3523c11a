import { afterEach, expect, test } from "bun:test";
import { openMosaic } from "../../src/index.ts";
import { directSteps, type Steps } from "../../src/system/steps.ts";
import { BEDS, describeOnBed, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";

const SIZE = 16 * 1024 ** 2;

/** Steps before whose umount somebody else unmounts the same. */
function disturbed(mountPoint: string): Steps {
  return {
    planning: false,
    take(step, action, planned) {
      if (step.text === `umount ${mountPoint}`) run("umount", mountPoint);
      return directSteps.take(step, action, planned);
    },
  };
}

for (const row of [BEDS.plain[0], BEDS.loop[1]]) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("what another process unmounts at the same moment is not mounted", async () => {
      const mountPoint = bed.makeMountPoint();
      await using mosaic = await openMosaic(bed.config, { steps: disturbed(mountPoint) });
      await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
      const wanted = { mountPoint, reason: "not-mounted", found: null };
      await mosaic.mountVolume("web", mountPoint);
      const volume = await expectError("NOT_FOUND", () => mosaic.unmountVolume("web", mountPoint));
      expect(volume.details).toMatchObject(wanted);
      await mosaic.mountMetadata(mountPoint);
      const metadata = await expectError("NOT_FOUND", () => mosaic.unmountMetadata(mountPoint));
      expect(metadata.details).toMatchObject(wanted);
      await mosaic.dropVolume("web");
    });
  });
}
