import { expect } from "bun:test";
import { basename, join } from "node:path";
import { findLedger } from "../../src/backends/dmthin/ledger.ts";
import { listObjects } from "../../src/backends/dmthin/objects.ts";
import { type Bed, dmsetup, run } from "./beds.ts";

/** The transaction id of a bed's pool. */
export function readTransaction(bed: Bed): number {
  return Number(dmsetup("status", basename(bed.configuredLocation)).split(" ")[3]);
}

/** The ids of the devices in a bed's pool, by its own tool. */
export function readIds(bed: Bed): number[] {
  const pool = basename(bed.configuredLocation);
  const metadata = run("losetup", "-n", "-O", "NAME", "-j", join(bed.directory, "pool-metadata")).trim();
  dmsetup("message", pool, "0", "reserve_metadata_snap");
  try {
    const lines = run("thin_ls", "-m", "--no-headers", "--format", "DEV", metadata).split("\n");
    return lines.flatMap((line) => (line.trim() ? [Number(line)] : []));
  } finally {
    dmsetup("message", pool, "0", "release_metadata_snap");
  }
}

/** The pool has the devices that the list says, the metadata's beside them, and both are at the same transaction. */
export function expectPoolMatches(bed: Bed): void {
  const objects = [...listObjects(bed.location)].map(({ id }) => id).sort((one, other) => one - other);
  expect(readIds(bed).filter((id) => id !== 0)).toEqual(objects);
  const ledger = findLedger(join(bed.directory, "state"));
  expect([ledger?.transaction, ledger?.next]).toContain(readTransaction(bed));
}
