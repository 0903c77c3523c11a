import { readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { MosaicError, quote } from "../../base/errors.ts";
import { findMappedDevice, readTable, readTargetStatus } from "../../system/devicemapper.ts";
import { runDmsetup } from "../../system/dmsetup.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";
import { checkThinMetadata } from "../../system/thintools.ts";
import type { BackendContext } from "../backend.ts";

const SECTOR_BYTES = 512;
const METADATA_BLOCK_BYTES = 4096;

/** An active thin pool. Devices are numbers such as "7:3". */
export interface Pool {
  readonly name: string;
  readonly number: string;
  readonly metadata: string;
  readonly data: string;
  readonly blockBytes: number;
  readonly sizeBytes: number;
}

/** The devices from which a pool can be made active. */
export interface PoolDevices {
  readonly metadata: string;
  readonly data: string;
  readonly blockBytes: number;
}

/** What the kernel says of a pool. */
export interface PoolStatus {
  readonly transaction: number;
  readonly dataBytes: number;
  readonly usedDataBytes: number;
  readonly metadataBytes: number;
  readonly usedMetadataBytes: number;
  /** Whether a snapshot of the metadata is reserved, which only one can be. */
  readonly hasSnapshot: boolean;
}

/** The pool at the location; undefined when it is not active and the config says its devices. Throws INVALID_CONFIG, UNSUPPORTED, UNAVAILABLE. */
export function findPool({ location, pool: devices, wrongLocation }: BackendContext): Pool | undefined {
  const number = findBlockNumber(location, wrongLocation);
  const device = number === undefined ? undefined : findMappedDevice({ number });
  if (number === undefined || (device && !device.isLive)) {
    if (devices) return undefined;
    throw inactive(location);
  }
  const [target, ...more] = device ? readTable({ number }) : [];
  if (!device || target?.type !== "thin-pool" || more.length > 0)
    throw wrongLocation(describeDevice(target?.type), "a thin pool of device-mapper");
  if (device.uuid.startsWith("LVM-")) throw ofLvm(location, device.name);
  const [metadata = "", data = "", blockSectors = ""] = target.words;
  return {
    name: device.name,
    number,
    metadata,
    data,
    blockBytes: Number(blockSectors) * SECTOR_BYTES,
    sizeBytes: target.sectors * SECTOR_BYTES,
  };
}

/** What the kernel says of a pool. Throws DAMAGED when it has failed. */
export function readPoolStatus({
  name,
  number,
  blockBytes,
}: Pick<Pool, "name" | "number" | "blockBytes">): PoolStatus {
  const words = readTargetStatus({ number })[0]?.words ?? [];
  const [transaction = "", metadata = "", data = "", root = ""] = words;
  const [usedMetadata = Number.NaN, allMetadata = Number.NaN] = metadata.split("/").map(Number);
  const [usedData = Number.NaN, allData = Number.NaN] = data.split("/").map(Number);
  if (Number.isNaN(usedMetadata + allMetadata + usedData + allData)) {
    const message = `the thin pool ${quote(name)} has failed (${words.join(" ") || "no status"}): deactivate it, then thin_check and thin_repair its metadata`;
    throw new MosaicError("DAMAGED", message, { pool: name, status: words.join(" ") });
  }
  return {
    transaction: Number(transaction),
    dataBytes: allData * blockBytes,
    usedDataBytes: usedData * blockBytes,
    metadataBytes: allMetadata * METADATA_BLOCK_BYTES,
    usedMetadataBytes: usedMetadata * METADATA_BLOCK_BYTES,
    hasSnapshot: root !== "-",
  };
}

/** Throws DAMAGED when a pool cannot be changed before it is repaired. */
export function requireSound(pool: Pool): PoolStatus {
  const status = readPoolStatus(pool);
  const words = readTargetStatus(pool)[0]?.words ?? [];
  const repair = `deactivate it (dmsetup remove ${pool.name}), then thin_check, and thin_repair onto another device`;
  const why = words.includes("needs_check")
    ? "needs a check of its metadata"
    : words.includes("ro")
      ? "is read-only, because its metadata could not be written"
      : undefined;
  if (why === undefined) return status;
  const message = `the thin pool ${quote(pool.name)} ${why}: ${repair}`;
  throw new MosaicError("DAMAGED", message, { pool: pool.name, status: words.join(" ") });
}

/** Makes a pool active from its devices, whose metadata is checked before. Throws DAMAGED, NOT_FOUND. */
export async function activatePool(steps: Steps, location: string, devices: PoolDevices): Promise<void> {
  const { metadata, data, blockBytes } = devices;
  await checkThinMetadata(steps, metadata);
  const sectors = readSectors(data);
  const blocks = blockBytes / SECTOR_BYTES;
  // Zeroing stays on: what a dropped volume held is never shown to another.
  const table = `0 ${sectors - (sectors % blocks)} thin-pool ${metadata} ${data} ${blocks} 0`;
  await runDmsetup(steps, ["create", basename(location), "--table", table]);
}

/** A device number as the node of the kernel, such as "/dev/loop3". */
export function nodeOf(number: string): string {
  const link = `/sys/dev/block/${number}`;
  return `/dev/${basename(calling("readlink", link, () => readlinkSync(link)))}`;
}

/** The number of the block device at a path; undefined where nothing is. */
function findBlockNumber(path: string, wrong: BackendContext["wrongLocation"]): string | undefined {
  const status = unlessErrno(["ENOENT"], () =>
    calling("stat", path, () => statSync(path, { throwIfNoEntry: false })),
  );
  if (!status) return undefined;
  if (!status.isBlockDevice()) throw wrong(describeFile(status), "the device of a thin pool");
  return numberOf(status.rdev);
}

/** The number of the block device at a path. Throws NOT_FOUND. */
export function requireBlockNumber(path: string): string {
  const status = calling("stat", path, () => statSync(path, { throwIfNoEntry: false }));
  if (status?.isBlockDevice()) return numberOf(status.rdev);
  const message = `the device ${quote(path)} of the pool is ${status ? "no block device" : "not there"}`;
  throw new MosaicError("NOT_FOUND", message, { path });
}

function numberOf(rdev: number): string {
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
}

function readSectors(path: string): number {
  const number = requireBlockNumber(calling("realpath", path, () => realpathSync(path)));
  const size = `/sys/dev/block/${number}/size`;
  return Number(calling("read", size, () => readFileSync(size, "utf8")));
}

function describeFile(status: { isDirectory(): boolean }): string {
  return status.isDirectory() ? "a directory" : "a file";
}

function describeDevice(type: string | undefined): string {
  return type ? `a device of the target ${type}` : "a block device that is none of device-mapper";
}

function inactive(location: string): MosaicError {
  const table = "0 SECTORS thin-pool METADATA DATA BLOCKSECTORS 0";
  const command = shellQuote(["dmsetup", "create", basename(location), "--table", table]);
  const message = `The thin pool ${quote(location)} is not active: activate it (${command}), or name its devices under the key pool`;
  return new MosaicError("UNAVAILABLE", message, { location, reason: "pool-inactive" });
}

function ofLvm(location: string, name: string): MosaicError {
  const message = `The thin pool ${quote(location)} is one of LVM (${name}), which keeps its own list of its volumes: use a pool of its own`;
  return new MosaicError("UNSUPPORTED", message, { location, directory: dirname(location) });
}
