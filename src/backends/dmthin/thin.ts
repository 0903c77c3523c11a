import { MosaicError } from "../../base/errors.ts";
import { RECORD_ATTRIBUTE } from "../../location/record.ts";
import { runDmsetup } from "../../system/dmsetup.ts";
import { hasErrno, unlessErrno } from "../../system/errno.ts";
import { removeFile } from "../../system/files.ts";
import { getAttribute } from "../../system/libc.ts";
import { listThinDevices } from "../../system/thintools.ts";
import { changePool, type PoolChange, whileReadable } from "./change.ts";
import { findForeignDevices, findLeftover, SETTLE_MS } from "./devices.ts";
import { requireSound } from "./health.ts";
import { requireTie } from "./ledger.ts";
import { findObject, ID_MAX, listObjects, type ThinObject, writeObject } from "./objects.ts";
import type { ThinStore } from "./store.ts";

/**
 * Makes a thin device and the object that says which it is. The object is durable before the device is there, so that a
 * run that was killed leaves no device that nobody knows. Throws NO_SPACE when all ids are used.
 */
export function makeThin(
  store: ThinStore,
  path: string,
  create: (id: number, change: PoolChange) => Promise<void> = (id, { send }) => send(`create_thin ${id}`),
): Promise<ThinObject> {
  return changePool(store, false, async (change) => {
    const used = new Set([...listObjects(store.location.path)].map(({ id }) => id));
    await change.begin();
    for (let id = findFree(used, 1); ; id = findFree(used, id + 1)) {
      const object = { id, transaction: change.transaction };
      await writeObject(store.steps, path, object);
      try {
        await create(id, change);
        return object;
      } catch (thrown) {
        // Nobody else can have made a device at this transaction: it is foreign, and stays.
        if (!hasErrno(thrown, "EEXIST")) throw thrown;
      }
    }
  });
}

/**
 * Destroys the thin device of an object, and then the object; can be called again after a failure. When the device is not
 * `known` to be there and the object's, the pool is asked: a killed run may not have made it, or may have deleted it, and
 * then somebody else took its id.
 */
export async function removeThin(store: ThinStore, path: string, known: boolean): Promise<void> {
  const object = findObject(path);
  if (object)
    await changePool(store, true, async (change) => {
      if (known || (await isInPool(store, object, change))) await deleteDevice(store, object, change);
    });
  await removeFile(store.steps, path);
}

/** Throws before a volume leaves the list when its device could not be deleted then. */
export async function requireDroppable(store: ThinStore): Promise<() => Promise<void>> {
  const pool = await store.openPool();
  if (!store.steps.planning) {
    requireSound(pool);
    requireTie(store.statePath, pool);
  }
  return async () => {};
}

/** Whether the pool has the device of an object, made at the object's transaction. */
export async function isInPool(
  store: ThinStore,
  object: ThinObject,
  { pool, lockFd }: PoolChange,
): Promise<boolean> {
  if (store.steps.planning) return true;
  const list = (metadata: string) => listThinDevices(store.steps, metadata);
  const devices = await whileReadable(store, pool, lockFd, list);
  return devices.some(({ id, transaction }) => id === object.id && transaction === object.transaction);
}

async function deleteDevice(store: ThinStore, object: ThinObject, change: PoolChange): Promise<void> {
  const { pool, lockFd } = change;
  const leftover = findLeftover(pool, object.id);
  if (leftover) await runDmsetup(store.steps, ["remove", leftover.name], [lockFd]);
  await change.begin();
  try {
    await sendDelete(object.id, change);
  } catch (thrown) {
    if (!hasErrno(thrown, "ENODATA")) throw explainBusy(thrown, object.id);
  }
}

/** The kernel takes a mapped device that goes off its list a moment before it lets go of its part of the pool. */
async function sendDelete(id: number, { pool, send }: PoolChange): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    try {
      return await send(`delete ${id}`);
    } catch (thrown) {
      const isGoing = hasErrno(thrown, "EBUSY") && findForeignDevices(pool, id).length === 0;
      if (!isGoing || performance.now() > deadline) throw thrown;
    }
    await Bun.sleep(20);
  }
}

function explainBusy(thrown: unknown, id: number): unknown {
  if (!hasErrno(thrown, "EBUSY")) return thrown;
  const message = `the device ${id} of the pool is in use by a mapped device that is not of mosaic: remove that one (dmsetup ls, dmsetup remove)`;
  return new MosaicError("BUSY", message, { id }, thrown);
}

/** Whether an object has a record, which is written after its device was made. */
export function hasRecord(path: string): boolean {
  return unlessErrno(["ENOENT"], () => getAttribute(path, RECORD_ATTRIBUTE)) !== undefined;
}

/** The lowest free id from `start`: 0 is for the metadata. Throws NO_SPACE when all up to `last` are used. */
export function findFree(used: ReadonlySet<number>, start: number, last: number = ID_MAX): number {
  let id = start;
  while (used.has(id)) id++;
  if (id <= last) return id;
  throw new MosaicError("NO_SPACE", `all ${last} device ids of the pool are used: drop volumes`, { last });
}
