import { MosaicError } from "../../base/errors.ts";
import { checkLocation } from "../../location/check.ts";
import type { Finding } from "../../location/finding.ts";
import { isLockedPath } from "../../location/locks.ts";
import type { MappedDevice } from "../../system/devicemapper.ts";
import { runDmsetup } from "../../system/dmsetup.ts";
import { findStatus } from "../../system/files.ts";
import { describeHolder } from "../../system/holders.ts";
import { listThinDevices, type ThinDevice } from "../../system/thintools.ts";
import { lockPool, whileReadable } from "./change.ts";
import { findLastingHolders, toBlockDevice } from "./devices.ts";
import { describeDifferences, describeEmpty, describeRoom, describeZeroing } from "./findings.ts";
import { readPoolStatus, requireSound } from "./health.ts";
import { findLedger, findMismatch, writeLedger } from "./ledger.ts";
import { listOwnDevices } from "./leftovers.ts";
import { METADATA_ID, restoreMetadata } from "./metadata.ts";
import { emptyObject, findObject, listObjects, type ThinObject, writeObject } from "./objects.ts";
import type { Pool } from "./pool.ts";
import type { ThinStore } from "./store.ts";

/** What is wrong with the pool, with what ties it to the list of its volumes, and with their devices. */
export async function* checkThin(store: ThinStore): AsyncGenerator<Finding> {
  const pool = store.findPool();
  if (!pool) {
    yield describeInactive(store);
    return;
  }
  const sick = findFault(() => requireSound(pool));
  if (sick) {
    yield { code: "pool-sick", severity: "problem", subject: pool.name, message: sick.message };
    return;
  }
  yield* describeRoom(store, pool, readPoolStatus(pool));
  yield* describeZeroing(pool);
  yield* checkTie(store, pool);
  yield* checkLocation(store);
  yield* checkDevices(store, pool);
}

function describeInactive(store: ThinStore): Finding {
  return {
    code: "pool-inactive",
    severity: "problem",
    subject: "the pool",
    message: "it is not active; the next command that needs it makes it active",
    repair: async () => void (await store.openPool()),
  };
}

async function* checkTie(store: ThinStore, pool: Pool): AsyncGenerator<Finding> {
  const devices = await lockPool(store, (locked, lockFd) =>
    whileReadable(store, locked, lockFd, (metadata) => listThinDevices(store.steps, metadata)),
  );
  const objects = [...listObjects(store.location.path)].filter(({ path }) => !path.includes("/.mosaic"));
  const metadata = findObject(`${store.statePath}/metadata`);
  if (metadata) objects.push({ ...metadata, path: `${store.statePath}/metadata` });
  const { transaction } = readPoolStatus(pool);
  const ledger = findLedger(store.statePath);
  const isNew = !ledger && transaction === 0 && devices.length === 0;
  const why = ledger
    ? findMismatch(ledger, pool, transaction)
    : isNew
      ? undefined
      : "there is no list of its volumes";
  const staged = new Set([...listObjects(store.location.path)].map(({ id }) => id));
  const unstaged = devices.filter(({ id }) => !staged.has(id) || objects.some((object) => object.id === id));
  yield* describeDifferences(objects, unstaged);
  yield* describeEmpty(store);
  if (why === undefined) return;
  yield {
    code: "pool-differs",
    severity: "problem",
    subject: pool.name,
    message: `the pool and the list of its volumes do not belong together: ${why}; the pool has the devices ${listIds(devices)}, the list has ${listIds(objects)}`,
    advice:
      "restore the list from a backup; or, if the pool is the right one, say check --repair: then every device that is in no list can be adopted",
    repair: () => takeOver(store, devices),
  };
}

/** Ties the list to the pool as it is now: each device that no object names gets one, without a record. */
async function takeOver(store: ThinStore, devices: readonly ThinDevice[]): Promise<void> {
  await lockPool(store, async (pool) => {
    const { steps, location, statePath } = store;
    const known = new Set<number>();
    for (const object of listObjects(location.path)) {
      if (devices.some((device) => isSame(device, object))) known.add(object.id);
      else await emptyObject(steps, object.path);
    }
    for (const device of devices.filter(({ id }) => !known.has(id))) {
      if (device.id === METADATA_ID) await restoreMetadata(store, device);
      else await writeObject(steps, findFreePath(location.path, device.id), device);
    }
    const { transaction } = readPoolStatus(pool);
    await writeLedger(steps, statePath, pool, transaction, transaction);
  });
}

function isSame(one: ThinObject, other: ThinObject): boolean {
  return one.id === other.id && one.transaction === other.transaction;
}

function findFreePath(directory: string, id: number): string {
  for (let count = 0; ; count++) {
    const path = `${directory}/id-${id}${count === 0 ? "" : `-${count}`}`;
    if (!findStatus(path)) return path;
  }
}

/** Devices that killed runs have left. */
async function* checkDevices(store: ThinStore, pool: Pool): AsyncGenerator<Finding> {
  const busy = new Set(
    [...listObjects(store.location.path)].filter(({ path }) => isLockedPath(path)).map(({ id }) => id),
  );
  for (const { device, id } of listOwnDevices(pool)) {
    if (busy.has(id)) continue;
    const finding = await checkDevice(store, device);
    if (finding) yield finding;
  }
}

async function checkDevice({ steps }: ThinStore, device: MappedDevice): Promise<Finding | undefined> {
  const about = { severity: "problem", subject: device.name } as const;
  if (!device.isLive) {
    const message = "a command that was killed while it made this device left it";
    const repair = () => runDmsetup(steps, ["remove", device.name]);
    return { code: "leftover-device", message, repair, ...about };
  }
  if (device.isSuspended) {
    const message = "the device is suspended: whoever uses it waits";
    return { code: "suspended", message, repair: () => runDmsetup(steps, ["resume", device.name]), ...about };
  }
  if (!device.isDeferred) return undefined;
  const holders = await findLastingHolders(toBlockDevice(device));
  if (holders.some(({ kind }) => kind === "mount")) return undefined;
  const users = holders.map(describeHolder).join("; ");
  const message = `the device is to go, but it is ${users || "in use by a filesystem that is mounted nowhere"}`;
  return { code: "stale-device", message, advice: "end that use", ...about };
}

function listIds(devices: readonly { readonly id: number }[]): string {
  return devices.length === 0 ? "none" : devices.map(({ id }) => id).join(", ");
}

function findFault(action: () => unknown): MosaicError | undefined {
  try {
    action();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof MosaicError) return thrown;
    throw thrown;
  }
}
