import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { listObjects } from "../../src/backends/dmthin/objects.ts";
import { MosaicError } from "../../src/base/errors.ts";
import type { Mosaic } from "../../src/index.ts";
import { closeFd, openPath } from "../../src/system/files.ts";
import { ioctl } from "../../src/system/libc.ts";
import { type Bed, dmsetup, run } from "./beds.ts";

// What tests of thin pools see and do without mosaic.

/** The name of a bed's pool. */
export const poolOf = (bed: Bed) => basename(bed.configuredLocation);
/** The directory in which the list of its volumes is. */
export const statePath = (bed: Bed) => join(bed.directory, "state");
/** The words of the kernel about it, after its length and target. */
export const readStatus = (bed: Bed) => dmsetup("status", poolOf(bed)).trim().split(" ").slice(3);
export const readTransaction = (bed: Bed) => Number(readStatus(bed)[0]);

/** The loop device of the metadata or the data of a bed's pool. */
export function loopOf(bed: Bed, part: "metadata" | "data"): string {
  return run("losetup", "-n", "-O", "NAME", "-j", join(bed.directory, `pool-${part}`)).trim();
}

/** The ids of the devices in the pool, by its own tool. */
export function readIds(bed: Bed): number[] {
  expect(trySend(poolOf(bed), "reserve_metadata_snap")).toBe(true);
  try {
    const argv = ["thin_ls", "-m", "--no-headers", "--format", "DEV", loopOf(bed, "metadata")];
    return run(...argv)
      .split("\n")
      .flatMap((line) => (line.trim() ? [Number(line)] : []));
  } finally {
    trySend(poolOf(bed), "release_metadata_snap");
  }
}

/** The ids in the list of volumes. */
export const listIds = (bed: Bed) => [...listObjects(bed.location)].map(({ id }) => id).sort((a, b) => a - b);

/** The list and the pool say the same; gives the ids. */
export function expectPoolSame(bed: Bed): number[] {
  const ids = listIds(bed);
  expect(readIds(bed).filter((id) => id !== 0)).toEqual(ids);
  const ledger = JSON.parse(readFileSync(join(statePath(bed), "pool"), "utf8"));
  expect([ledger.transaction, ledger.next]).toContain(readTransaction(bed));
  return ids;
}

/** What `check` calls problems. */
export async function listProblems(mosaic: Mosaic): Promise<string[]> {
  const { findings } = await mosaic.check();
  return findings.filter(({ severity }) => severity === "problem").map(({ code }) => code);
}

/** Whether the kernel does what a message to a pool says. */
export const trySend = (pool: string, message: string) => sendToPool(pool, message) === undefined;

/** Sends a message to a pool as dmsetup does, and much faster; gives the errno when the kernel refuses it: linux/dm-ioctl.h. */
export function sendToPool(pool: string, message: string): string | undefined {
  const DM_TARGET_MSG = 0xc138fd0e;
  const buffer = Buffer.alloc(1024);
  buffer.writeUInt32LE(4, 0);
  buffer.writeUInt32LE(buffer.length, 12);
  buffer.writeUInt32LE(312, 16);
  buffer.write(pool, 48);
  buffer.write(message, 320);
  const fd = openPath("/dev/mapper/control");
  try {
    ioctl(fd, DM_TARGET_MSG, buffer, pool);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof MosaicError) return String(thrown.details.errno);
    throw thrown;
  } finally {
    closeFd(fd);
  }
}

/** Gives a mapped device another table while it is used. */
export function loadTable(device: string, table: string): void {
  dmsetup("load", device, "--table", table);
  dmsetup("suspend", "--noflush", device);
  dmsetup("resume", device);
}
