import { afterEach, expect, test } from "bun:test";
import * as z from "zod/mini";
import { ACTION_NAMES, type ActionName, actionOf, runAction } from "../../src/api/actions.ts";
import { resultSchemas } from "../../src/api/resultschemas.ts";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { ALL_BEDS, describeOnBed, run } from "../support/beds.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";

// What actions answer is what their schemas say, after it has been JSON.

const SCHEMAS = resultSchemas(z);
const SIZE = 32 * 1024 ** 2;

/** Runs an action and checks its result against the schemas of its row. */
async function perform(mosaic: Mosaic, action: ActionName, values: Record<string, unknown>): Promise<void> {
  const result: unknown = JSON.parse(JSON.stringify(await runAction(mosaic, action, values)));
  const faults = Object.values(actionOf(action).methods).map(
    (method) => SCHEMAS[method.result].safeParse(result).error?.issues,
  );
  expect({ action, result, faults: faults.every(Boolean) ? faults : undefined }).toEqual({
    action,
    result,
    faults: undefined,
  });
}

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("every action that the bed can do answers by its schema", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      const features = mosaic.info().features;
      const done = new Set<ActionName>();
      const act = async (action: ActionName, values: Record<string, unknown>) => {
        await perform(mosaic, action, values);
        done.add(action);
      };
      await act("create", { kind: "fs", volume: "a/web", sizeBytes: SIZE });
      if (features.includes("clone")) await act("clone", { origin: "a/web", volume: "copy" });
      await act("mount", { volume: "a/web", mountPoint });
      if (features.includes("bdev")) await act("attach", { volume: "a/web" });
      makeForeign(bed, "foreign");
      for (const volume of ["a/web", "foreign", "none"]) await act("have", { volume });
      await act("list", {});
      await act("info", {});
      await act("info", { volume: "a/web" });
      await act("check", {});
      await act("umount", { volume: "a/web", mountPoint });
      if (features.includes("bdev")) await act("detach", { volume: "a/web" });
      if (features.includes("volsize")) await act("resize", { volume: "a/web", sizeBytes: 2 * SIZE });
      const list = await runAction(mosaic, "list", {});
      await act("adopt", { kind: "fs", volume: "foreign" });
      run("setfattr", "-x", "trusted.mosaic.volume", `${bed.location}/a/web`);
      await act("adopt", { list });
      await act("adopt", { list: { volumes: [{ ...(await mosaic.getVolume("foreign")), name: "gone" }] } });
      await act("drop", { volume: "a/web" });
      const impossible: ActionName[] = [
        ...(features.includes("clone") ? [] : (["clone"] as const)),
        ...(features.includes("bdev") ? [] : (["attach", "detach"] as const)),
        ...(features.includes("volsize") ? [] : (["resize"] as const)),
      ];
      expect([...done, ...impossible].sort()).toEqual([...ACTION_NAMES].sort());
    });
  });
}
