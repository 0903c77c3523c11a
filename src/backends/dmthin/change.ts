import { takeLock } from "../../location/locks.ts";
import { listMappedUsers } from "../../system/devicemapper.ts";
import { runDmsetup, sendMessage } from "../../system/dmsetup.ts";
import { closeFd, openDirectory } from "../../system/files.ts";
import { listThinDevices } from "../../system/thintools.ts";
import { requireRoom, requireSound } from "./health.ts";
import { findLedger, mismatchError, requireTie, writeLedger } from "./ledger.ts";
import { nodeOf, type Pool } from "./pool.ts";
import type { ThinStore } from "./store.ts";

// Changes of a pool, one at a time, each under a transaction id of its own: see ledger.ts.

/** The uuid of every device that mosaic makes begins with this. */
export const UUID_PREFIX = "MOSAIC-";

/** A locked pool that can be changed. */
export interface PoolChange {
  readonly pool: Pool;
  /** Children that get it keep the lock of the pool. */
  readonly lockFd: number;
  /** The transaction id of this change. */
  readonly transaction: number;
  /** Gives the pool that transaction id: what is made then carries it. */
  begin(): Promise<void>;
  /** Sends a message to the pool; the kernel has written what it did before it answers. Throws DAMAGED, NO_SPACE when it could not. The child keeps the locks of `fds` too. */
  send(message: string, fds?: readonly number[]): Promise<void>;
}

/**
 * Runs `act` with the pool locked and its next transaction id written down. Throws NO_SPACE above the limits unless the
 * change only `frees`, DAMAGED for a pool that is sick or that the list of volumes is not of.
 */
export function changePool<T>(
  store: ThinStore,
  frees: boolean,
  act: (change: PoolChange) => Promise<T>,
): Promise<T> {
  return lockPool(store, async (pool, lockFd) => {
    const { steps, statePath } = store;
    await resumeOurs(store, pool, lockFd);
    let current = 0;
    if (!steps.planning) {
      current = (frees ? requireSound(pool) : requireRoom(pool, store.limits)).transaction;
      await requireOwnPool(store, pool, current, lockFd);
    }
    const transaction = current + 1;
    const send = async (message: string, fds: readonly number[] = []) => {
      await sendMessage(steps, pool.name, message, [lockFd, ...fds]);
      // A message is answered well also when the kernel could not write what it did, and took it back.
      if (!steps.planning) requireSound(pool);
    };
    const begin = async () => {
      await writeLedger(steps, statePath, pool, current);
      await send(`set_transaction_id ${current} ${transaction}`);
    };
    return act({ pool, lockFd, transaction, begin, send });
  });
}

/** Runs `action` while nobody else changes the pool. Throws LOCKED. */
export async function lockPool<T>(
  store: ThinStore,
  action: (pool: Pool, lockFd: number) => Promise<T>,
): Promise<T> {
  const { steps, statePath, lockTimeoutMs } = store;
  const fd = openDirectory(statePath);
  try {
    await takeLock(fd, statePath, "the thin pool", lockTimeoutMs, steps.signal);
    return await action(await store.openPool(), fd);
  } finally {
    closeFd(fd);
  }
}

/** Runs `action` while the metadata of a locked pool can be read; one that a killed run reserved is released first. */
export async function whileReadable<T>(
  store: ThinStore,
  pool: Pool,
  lockFd: number,
  action: (metadata: string) => Promise<T>,
): Promise<T> {
  const send = (message: string) => sendMessage(store.steps, pool.name, message, [lockFd]);
  if (requireSound(pool).hasSnapshot) await send("release_metadata_snap");
  await send("reserve_metadata_snap");
  try {
    return await action(nodeOf(pool.metadata));
  } finally {
    await send("release_metadata_snap");
  }
}

/** Throws DAMAGED when the pool is not the one that the list of volumes is of. */
async function requireOwnPool(
  store: ThinStore,
  pool: Pool,
  transaction: number,
  lockFd: number,
): Promise<void> {
  if (findLedger(store.statePath)) {
    requireTie(store.statePath, pool);
    return;
  }
  const list = (metadata: string) => listThinDevices(store.steps, metadata);
  const devices = transaction === 0 ? await whileReadable(store, pool, lockFd, list) : [];
  if (transaction === 0 && devices.length === 0) return;
  const ids = devices.map(({ id }) => id).join(", ");
  const why = `there is no list, and the pool has ${ids ? `the devices ${ids}` : `the transaction id ${transaction}`}`;
  throw mismatchError(pool, store.statePath, why);
}

/** A run that was killed may have left a device suspended, and whoever uses it waits. */
async function resumeOurs({ steps }: ThinStore, pool: Pool, lockFd: number): Promise<void> {
  const own = listMappedUsers(pool.number).filter(({ uuid }) => uuid.startsWith(UUID_PREFIX));
  for (const device of own.filter(({ isSuspended, isLive }) => isSuspended && isLive))
    await runDmsetup(steps, ["resume", device.name], [lockFd]);
}
