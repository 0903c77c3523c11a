import { MosaicError } from "../../base/errors.ts";
import type { Finding } from "../../location/finding.ts";
import { listVolumes } from "../../location/volumes.ts";
import { readTable } from "../../system/devicemapper.ts";
import { listOverLimits, type PoolStatus } from "./health.ts";
import { findObject, type ThinObject } from "./objects.ts";
import type { Pool } from "./pool.ts";
import type { ThinStore } from "./store.ts";

/** DAMAGED for a volume whose device is not in the pool any more. */
export function missingDevice(name: string, id: number): MosaicError {
  const message = `its device ${id} is not in the pool: it was deleted behind mosaic, or the list of volumes is an old one`;
  return new MosaicError("DAMAGED", message, { name, id });
}

/** Findings about how full a pool is. */
export function* describeRoom({ limits }: ThinStore, { name }: Pool, status: PoolStatus): Generator<Finding> {
  for (const { part, percent, limit } of listOverLimits(status, limits)) {
    yield {
      code: "pool-full",
      severity: "problem",
      subject: name,
      message: `it has used ${percent.toFixed(0)} % of its ${part}, and the limit is ${limit} %: nothing is made or grown in it`,
      advice: `drop volumes, or make the ${part} device of the pool larger`,
    };
  }
}

/** A finding about a pool that gives out blocks with what was in them before. */
export function* describeZeroing(pool: Pool): Generator<Finding> {
  if (!readTable(pool)[0]?.words.includes("skip_block_zeroing")) return;
  yield {
    code: "pool-unzeroed",
    severity: "problem",
    subject: pool.name,
    message: "it does not zero new blocks: what a dropped volume held is seen in others",
    advice: "load its table without the word skip_block_zeroing",
  };
}

/** What the list of volumes and the pool do not both have. */
export function* describeDifferences(
  objects: readonly (ThinObject & { readonly path: string })[],
  devices: readonly ThinObject[],
): Generator<Finding> {
  const known = new Set(objects.map(({ id }) => id));
  const there = new Map(devices.map((device) => [device.id, device]));
  for (const { id, transaction, path } of objects) {
    const device = there.get(id);
    if (device?.transaction === transaction) continue;
    const message = device
      ? `its device ${id} was made at the transaction ${device.transaction} and not at ${transaction}: it is another one`
      : `its device ${id} is not in the pool`;
    yield { code: "device-missing", severity: "problem", subject: path, message };
  }
  for (const { id } of devices.filter((device) => !known.has(device.id))) {
    yield {
      code: "foreign-device",
      severity: "note",
      subject: `device ${id}`,
      message: "it is in the pool, and no volume: it is never changed, and its id is not used",
    };
  }
}

/** Volumes whose object names no device, which `check --repair` made so. */
export function* describeEmpty({ location, form }: ThinStore): Generator<Finding> {
  for (const { storedName } of listVolumes(location, form)) {
    if (findObject(`${location.path}/${storedName}`)) continue;
    const message = "its device is gone: it holds nothing any more";
    const advice = "drop it, or restore its file from a backup";
    yield { code: "device-missing", severity: "problem", subject: storedName, message, advice };
  }
}
