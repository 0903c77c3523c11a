import { constants } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
import { Deferred } from "../../location/deferred.ts";
import {
  createMappedDevice,
  deferRemoval,
  findMappedDevice,
  listMappedUsers,
  type MappedDevice,
  readTable,
} from "../../system/devicemapper.ts";
import { runDmsetup, sendMessage } from "../../system/dmsetup.ts";
import { closeFd, openPath } from "../../system/files.ts";
import { findBlockHolders, type Holder } from "../../system/holders.ts";
import type { Steps } from "../../system/steps.ts";
import type { BlockDevice } from "../backend.ts";
import { UUID_PREFIX } from "./change.ts";
import type { Pool } from "./pool.ts";

// A mapped device for a volume is made without a table in use, so that it is nobody's until it is set to go with its last
// user; only then it comes to life. A run that is killed before leaves one that has no table in use, which the next removes.

const SECTOR_BYTES = 512;
/** How long a device may take to go after its last use. */
export const SETTLE_MS = 5_000;
const GLANCE_MS = 1_000;

/** A device that exists at least as long as `close` was not called. */
export interface OpenDevice {
  readonly device: BlockDevice;
  close(): void;
}

/** The device of a volume; undefined when it has none. */
export function findThinDevice(pool: Pool, id: number): MappedDevice | undefined {
  const device = findMappedDevice({ uuid: uuidOf(pool, id) });
  return device?.isLive ? device : undefined;
}

/** What a run that was killed while it made the device has left. */
export function findLeftover(pool: Pool, id: number): MappedDevice | undefined {
  const device = findMappedDevice({ uuid: uuidOf(pool, id) });
  return device?.isLive ? undefined : device;
}

/** Devices of the same part of the pool that mosaic did not make. */
export function findForeignDevices(pool: Pool, id: number): MappedDevice[] {
  const uuid = uuidOf(pool, id);
  const isOfId = ({ number }: MappedDevice) =>
    readTable({ number }).some(({ words }) => words[1] === String(id));
  return listMappedUsers(pool.number).filter((device) => device.uuid !== uuid && isOfId(device));
}

/** Makes a device of `sizeBytes` that goes when it was closed and nothing uses it. Children that get `fds` keep their locks. */
export async function openThinDevice(
  steps: Steps,
  pool: Pool,
  id: number,
  sizeBytes: number,
  readOnly: boolean,
  fds: readonly number[],
): Promise<OpenDevice> {
  const name = nameOf(pool, id);
  const run = (...args: string[]) => runDmsetup(steps, args, fds);
  const leftover = findLeftover(pool, id);
  if (leftover) await run("remove", leftover.name);
  await using undo = new Deferred();
  undo.defer(async () => {
    if (!steps.planning && findLeftover(pool, id)) await run("remove", name);
  });
  await createMappedDevice(steps, name, uuidOf(pool, id));
  await run("load", name, ...(readOnly ? ["--readonly"] : []), "--table", tableOf(pool, id, sizeBytes));
  const made = findMappedDevice({ uuid: uuidOf(pool, id) });
  const path = made?.path ?? "/dev/dm-N";
  const fd = steps.planning ? -1 : openPath(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
  const close = () => {
    if (fd >= 0) closeFd(fd);
  };
  try {
    await deferRemoval(steps, name);
    await run("resume", name);
  } catch (thrown) {
    close();
    throw thrown;
  }
  undo.cancel();
  return { device: { path, number: made?.number ?? "", readOnly, autoclear: true }, close };
}

/** Makes a device stay when nothing uses it, until it is removed. */
export function keepDevice(steps: Steps, pool: Pool, id: number, fds: readonly number[]): Promise<void> {
  return sendMessage(steps, nameOf(pool, id), "@cancel_deferred_remove", fds);
}

/** Gives a device another size, also while it is used; its new table is complete before it takes the place of the old. */
export async function resizeDevice(
  steps: Steps,
  pool: Pool,
  id: number,
  sizeBytes: number,
  fds: readonly number[],
): Promise<void> {
  await runDmsetup(steps, ["load", nameOf(pool, id), "--table", tableOf(pool, id, sizeBytes)], fds);
  await runDmsetup(steps, ["resume", nameOf(pool, id)], fds);
}

/** The device of a volume; one that nothing uses any more is going, which takes a moment. */
export async function settleDevice(pool: Pool, id: number): Promise<BlockDevice | undefined> {
  const start = performance.now();
  for (;;) {
    const device = findThinDevice(pool, id);
    if (!device?.isDeferred) return device && toBlockDevice(device);
    const holders = findBlockHolders(device.path, device.number);
    if (holders.some(({ kind }) => kind !== "process")) return toBlockDevice(device);
    if (performance.now() - start > (holders.length > 0 ? GLANCE_MS : SETTLE_MS))
      return toBlockDevice(device);
    await Bun.sleep(5);
  }
}

/** Who uses a device; a program that only looks at a new one, such as udev's, is given a moment to go on. */
export async function findLastingHolders({ path, number }: BlockDevice): Promise<Holder[]> {
  const deadline = performance.now() + GLANCE_MS;
  for (;;) {
    const holders = findBlockHolders(path, number);
    const isOver = holders.length === 0 || performance.now() > deadline;
    if (isOver || holders.some(({ kind }) => kind !== "process")) return holders;
    await Bun.sleep(20);
  }
}

/** Who holds a thin device: its mapped device, who uses that, and devices that others made of it. */
export async function findThinHolders(pool: Pool, id: number): Promise<Holder[]> {
  const foreign = findForeignDevices(pool, id).map(
    ({ path }) => ({ kind: "device", device: path, attached: false }) as const,
  );
  const device = await settleDevice(pool, id);
  if (!device) return foreign;
  const users = [...(await findLastingHolders(device)), ...foreign];
  if (device.autoclear && users.length > 0) return users;
  return [{ kind: "device", device: device.path, attached: !device.autoclear }, ...users];
}

/** Waits until a device that is going has gone. Throws BUSY when it stays. */
export async function waitUntilGone(pool: Pool, id: number): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  while (findMappedDevice({ uuid: uuidOf(pool, id) })) {
    if (performance.now() > deadline)
      throw new MosaicError("BUSY", `the device ${nameOf(pool, id)} did not go after its last use`, { id });
    await Bun.sleep(5);
  }
}

/** A mapped device as one of a volume. */
export function toBlockDevice({ path, number, readOnly, isDeferred }: MappedDevice): BlockDevice {
  return { path, number, readOnly, autoclear: isDeferred };
}

/** No text of users is in it, so nothing of it is mangled; the number of the pool tells pools of like names apart. */
export function nameOf(pool: Pool, id: number): string {
  const safe = pool.name.replaceAll(/[^A-Za-z0-9_.-]/g, "_").slice(0, 40);
  return `mosaic-${safe}-${pool.number.replace(":", ".")}-${id}`;
}

function uuidOf(pool: Pool, id: number): string {
  return `${UUID_PREFIX}${pool.number}-${id}`;
}

function tableOf(pool: Pool, id: number, sizeBytes: number): string {
  return `0 ${sizeBytes / SECTOR_BYTES} thin ${pool.number} ${id}`;
}
