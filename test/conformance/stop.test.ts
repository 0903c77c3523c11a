import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { MosaicError } from "../../src/base/errors.ts";
import { openMosaic } from "../../src/index.ts";
import { cancellableSteps, directSteps, type Steps } from "../../src/system/steps.ts";
import { ALL_BEDS, describeOnBed } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { snapshotTree } from "../support/snapshot.ts";

// A stop comes between two steps: what was begun is undone, and the undoing is not stopped in its turn.

const FS = { kind: "fs", sizeBytes: 16 * 1024 ** 2 } as const;
const MAX_STEPS = 100;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("a create that is stopped before any of its steps leaves nothing", async () => {
      for (let at = 1; at <= MAX_STEPS; at++) {
        const stop = new AbortController();
        await using mosaic = await openMosaic(bed.config, { steps: stoppingAt(at, stop) });
        const made = await mosaic.createVolume("p/web", FS).catch((thrown) => thrown);
        if (!stop.signal.aborted) return expect(at).toBeGreaterThan(5);
        if (made instanceof MosaicError) {
          expect(made.code).toBe("CANCELLED");
          expect(readdirSync(bed.location)).toEqual([]);
        } else {
          expect(readdirSync(bed.location)).toEqual(["p"]);
          await mosaic.dropVolume("p/web");
        }
      }
      throw new Error(`create took more than ${MAX_STEPS} steps`);
    });

    test("a stop in the middle of a failure does not stop its undoing", async () => {
      await using calm = await openMosaic(bed.config);
      await calm.createVolume("old", FS);
      const before = snapshotTree(bed.location);
      const stop = new AbortController();
      await using mosaic = await openMosaic(bed.config, { steps: failingWhenStopped(stop) });
      await expectError("NO_SPACE", () => mosaic.createVolume("p/web", FS));
      expect(stop.signal.aborted).toBe(true);
      expect(snapshotTree(bed.location)).toEqual(before);
    });
  });
}

/** Steps that are stopped before the `at`-th, counted from 1. */
function stoppingAt(at: number, stop: AbortController): Steps {
  let count = 0;
  const stopping = cancellableSteps(directSteps, stop.signal);
  return {
    ...stopping,
    take(step, action, planned) {
      if (++count === at) stop.abort(new MosaicError("CANCELLED", "stopped"));
      return stopping.take(step, action, planned);
    },
  };
}

/** Steps of which the last sync fails, and the stop comes at that moment. */
function failingWhenStopped(stop: AbortController): Steps {
  const failing: Steps = {
    planning: false,
    async take(step, action) {
      if (!step.text.startsWith("sync ") || !step.text.endsWith("/p/web")) return action();
      stop.abort(new MosaicError("CANCELLED", "stopped"));
      throw new MosaicError("NO_SPACE", "the disk is full");
    },
  };
  return cancellableSteps(failing, stop.signal);
}
