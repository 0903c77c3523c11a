import { copyAttributes } from "../system/attributes.ts";
import {
  copyOwner,
  exchangePaths,
  findStatus,
  syncParent,
  syncPath,
  writeAttribute,
} from "../system/files.ts";
import { explainFullDisk, requireUnheld } from "./changes.ts";
import { Deferred } from "./deferred.ts";
import { type Operation, openOperation } from "./operation.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { sweep } from "./sweep.ts";
import type { LockedVolume } from "./volumes.ts";

/**
 * Builds a volume anew aside and exchanges it with the old one in one step, so that there is always one that is whole.
 * Throws BUSY when somebody holds the old one; on any failure the old one is as it was.
 */
export async function replaceVolume(
  store: Store,
  volume: LockedVolume,
  record: VolumeRecord,
  build: (operation: Operation) => Promise<void>,
): Promise<void> {
  const { steps, location, form } = store;
  await sweep(steps, location, form);
  requireUnheld(record, await form.holders(volume.path, volume.fd));
  const operation = await openOperation(steps, location);
  const { volumePath } = operation;
  await using closing = new Deferred();
  closing.defer(() => operation.close());
  // Before the exchange the new one lies there, after it the old one.
  closing.defer(async () => {
    if (steps.planning || findStatus(volumePath)) await form.remove(steps, volumePath, operation.fd);
  });
  await explainFullDisk(store, operation, build);
  const status = findStatus(volume.path);
  if (status) await copyOwner(steps, status, volumePath);
  await copyAttributes(steps, volume.path, volumePath, operation.fd);
  await writeAttribute(steps, volumePath, RECORD_ATTRIBUTE, formatRecord(record));
  await syncPath(steps, volumePath);
  // Who came while it was built would go on with the old one.
  requireUnheld(record, await form.holders(volume.path, volume.fd));
  await using undo = new Deferred();
  await exchangePaths(steps, volumePath, volume.path);
  undo.defer(() => exchangePaths(steps, volumePath, volume.path));
  await syncPath(steps, volume.path);
  await syncParent(steps, volume.path, location.path);
  undo.cancel();
}
