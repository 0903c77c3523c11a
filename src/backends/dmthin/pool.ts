import { existsSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { MosaicError, quote } from "../../base/errors.ts";
import { findMappedDevice, readTable } from "../../system/devicemapper.ts";
import { runDmsetup } from "../../system/dmsetup.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";
import { checkThinMetadata } from "../../system/thintools.ts";
import type { BackendContext } from "../backend.ts";

const SECTOR_BYTES = 512;

/** Where device-mapper makes the node of a pool that it is told to make; other characters it would write otherwise. */
const ACTIVATABLE = /^\/dev\/mapper\/[A-Za-z0-9][A-Za-z0-9#+.:=@_-]*$/;
const ACTIVATABLE_WORDS =
  "/dev/mapper/NAME, as the key pool makes it active there, the name of letters, digits and #+-.:=@_";

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

/** The pool at the location; undefined when it is not active and the config says its devices. Throws INVALID_CONFIG, UNSUPPORTED, UNAVAILABLE. */
export function findPool({ location, pool: devices, wrongLocation }: BackendContext): Pool | undefined {
  if (devices && !ACTIVATABLE.test(location)) throw wrongLocation(quote(location), ACTIVATABLE_WORDS);
  const number = findBlockNumber(location, wrongLocation);
  const device = number === undefined ? undefined : findMappedDevice({ number });
  if (number === undefined || (device && !device.isLive)) {
    if (devices) return undefined;
    throw inactive(location);
  }
  if (device?.uuid.startsWith("LVM-")) throw ofLvm(location, device.name);
  const [target, ...more] = device ? readTable({ number }) : [];
  if (!device || target?.type !== "thin-pool" || more.length > 0)
    throw wrongLocation(describeDevice(target?.type), "a thin pool of device-mapper");
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

/** The number of the block device at a path; undefined where the kernel has none. */
function findBlockNumber(path: string, wrong: BackendContext["wrongLocation"]): string | undefined {
  // What the kernel calls it counts: where no udev runs its node may be missing, or be that of a device that is gone.
  const named = dirname(path) === "/dev/mapper" ? findMappedDevice({ name: basename(path) }) : undefined;
  if (named) return named.number;
  const status = unlessErrno(["ENOENT"], () =>
    calling("stat", path, () => statSync(path, { throwIfNoEntry: false })),
  );
  if (!status) return undefined;
  if (!status.isBlockDevice()) throw wrong(describeFile(status), "the device of a thin pool");
  const number = numberOf(status.rdev);
  return existsSync(`/sys/dev/block/${number}`) ? number : undefined;
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
