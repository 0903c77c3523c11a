import { MosaicError } from "../../base/errors.ts";
import { formatSize } from "../../base/size.ts";
import { listVolumes } from "../../location/volumes.ts";
import type { MappedDevice } from "../../system/devicemapper.ts";
import { FREEZE_LIMIT_SECONDS } from "../../system/watchdog.ts";
import type { ThinStore } from "./store.ts";

/** Throws NO_SPACE when with `moreBytes` the sizes of all volumes would be beyond what the config allows. */
export function requireCommitted(store: ThinStore, poolBytes: number, moreBytes: number): void {
  const { overcommit } = store.limits;
  if (overcommit === null || moreBytes <= 0) return;
  let total = moreBytes;
  for (const { sizeBytes } of listVolumes(store.location, store.form)) total += sizeBytes ?? 0;
  const allowed = (poolBytes * overcommit) / 100;
  if (total <= allowed) return;
  const message = `the sizes of all volumes would be ${formatSize(total)}, and limits.overcommit of ${overcommit} % allows ${formatSize(Math.floor(allowed))}`;
  throw new MosaicError("NO_SPACE", message, { totalBytes: total, allowedBytes: allowed, overcommit });
}

/** Throws BUSY when others made devices of the same part of the pool: what both write is destroyed. */
export function requireNoForeign(devices: readonly MappedDevice[]): void {
  const [device] = devices;
  if (!device) return;
  const holders = devices.map(({ path }) => ({ kind: "device", device: path, attached: false }));
  const message = `it has the mapped device ${device.name}, which mosaic did not make: remove that first (dmsetup remove)`;
  throw new MosaicError("BUSY", message, { holders });
}

/** BUSY for a snapshot that took too long. */
export function resumedTooEarly(): MosaicError {
  const message = `the device was resumed before its snapshot was complete, after ${FREEZE_LIMIT_SECONDS} seconds: try again when the host is less busy`;
  return new MosaicError("BUSY", message);
}
