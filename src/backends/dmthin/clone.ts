import { isFilesystemName, makeDistinct } from "../../filesystems/registry.ts";
import { withWritableMount } from "../../filesystems/writablemount.ts";
import { publishVolume } from "../../location/changes.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import type { VolumeAddress } from "../../location/volumes.ts";
import { runDmsetup, withoutUdev } from "../../system/dmsetup.ts";
import { syncMounted, syncPath } from "../../system/files.ts";
import { startWatchdog } from "../../system/watchdog.ts";
import { lockThin, type ThinVolume } from "./access.ts";
import type { PoolChange } from "./change.ts";
import { findForeignDevices, findThinDevice, nameOf, openThinDevice, waitUntilGone } from "./devices.ts";
import { requireRoom, requireWritable } from "./health.ts";
import type { ThinObject } from "./objects.ts";
import { requireCommitted, requireNoForeign, resumedTooEarly } from "./overcommit.ts";
import type { ThinStore } from "./store.ts";
import { makeThin } from "./thin.ts";

/** The clone is what a power cut at that moment would leave, with a filesystem UUID of its own. */
export async function cloneThin(
  store: ThinStore,
  origin: VolumeAddress,
  makeRecord: (origin: VolumeRecord) => VolumeRecord,
): Promise<VolumeRecord> {
  const volume = await lockThin(store, origin);
  try {
    const record = makeRecord(volume.record);
    requireCommitted(store, volume.pool.sizeBytes, volume.sizeBytes);
    await writeOut(store, volume);
    await publishVolume(store, record, async (operation) => {
      const { id } = await snapThin(store, volume, operation);
      const { filesystem } = record;
      if (filesystem === null || !isFilesystemName(filesystem)) return;
      await whileActive(store, volume, id, operation.fd, (path) =>
        makeDistinct(store.steps, filesystem, path, operation.fd),
      );
    });
    return record;
  } finally {
    volume.close();
  }
}

/**
 * Writes to the device what waits to be written, so that it is suspended for a moment only. On btrfs nothing else does: the
 * kernel does not find its filesystem by the device, and so does not freeze it.
 */
async function writeOut({ steps, limits }: ThinStore, { pool, thinId, record }: ThinVolume): Promise<void> {
  // A full pool would let us wait.
  if (!steps.planning) requireRoom(pool, limits);
  const device = findThinDevice(pool, thinId);
  if (!device) return;
  try {
    await withWritableMount(steps, record.filesystem, device, (mountFd) => syncMounted(steps, mountFd));
  } catch (thrown) {
    // It may have been too much for the pool.
    if (!steps.planning) requireWritable(pool);
    throw thrown;
  }
}

/** Makes a snapshot of a volume for an operation, whose object is then at its place. */
export function snapThin(store: ThinStore, volume: ThinVolume, operation: Operation): Promise<ThinObject> {
  return makeThin(store, operation.volumePath, (id, change) =>
    takeSnapshot(store, volume, operation, id, change),
  );
}

/** Runs `action` while a thin device of a volume's size has a mapped device that nobody else knows. */
export async function whileActive(
  { steps }: ThinStore,
  { pool, sizeBytes }: Pick<ThinVolume, "pool" | "sizeBytes">,
  id: number,
  lockFd: number,
  action: (path: string) => Promise<void>,
): Promise<void> {
  const opened = await openThinDevice(steps, pool, id, sizeBytes, false, [lockFd]);
  try {
    await action(opened.device.path);
    // A pool writes down what its devices have only at a flush, or some time later.
    await syncPath(steps, opened.device.path);
  } finally {
    opened.close();
    if (!steps.planning) await waitUntilGone(pool, id);
  }
}

/** The kernel does not refuse a snapshot of a device that is written at that moment; the snapshot would be damaged. */
async function takeSnapshot(
  { steps }: ThinStore,
  { pool, thinId }: ThinVolume,
  operation: Operation,
  id: number,
  { send, lockFd }: PoolChange,
): Promise<void> {
  requireNoForeign(findForeignDevices(pool, thinId));
  // The watchdog resumes only when the last of these locks is free: not under a snapshot that is still taken.
  const snap = () => send(`create_snap ${id} ${thinId}`, [operation.fd]);
  if (!findThinDevice(pool, thinId)) return snap();
  const name = nameOf(pool, thinId);
  const resume = () => runDmsetup(steps, ["resume", name], [lockFd]);
  const watchdog = await startWatchdog(steps, operation.path, "dmsetup", withoutUdev(["resume", name]));
  try {
    // The kernel freezes ext4 and XFS on it, too.
    await runDmsetup(steps, ["suspend", name], [lockFd, operation.fd]);
    // What its filesystem had to write may have been too much for the pool, and is lost then.
    if (!steps.planning) requireWritable(pool);
    requireSuspended(steps.planning, pool, thinId);
    await snap();
    requireSuspended(steps.planning, pool, thinId);
  } finally {
    // Where the first fails the second is tried, and then the watchdog lives on.
    await resume().catch(resume);
    await watchdog.end();
  }
}

/** The watchdog may have resumed it, when a busy host took longer than its limit. */
function requireSuspended(planning: boolean, pool: ThinVolume["pool"], id: number): void {
  if (planning || findThinDevice(pool, id)?.isSuspended) return;
  throw resumedTooEarly();
}
