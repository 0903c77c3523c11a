import { statfsSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { hasErrno } from "../system/errno.ts";
import { canGrow, findStatus, renamePath, syncParent, syncPath, writeAttribute } from "../system/files.ts";
import { describeHolder, type Holder } from "../system/holders.ts";
import { getAttribute, removeAttribute } from "../system/libc.ts";
import type { Steps } from "../system/steps.ts";
import { Deferred } from "./deferred.ts";
import { fullDiskTrash, type Operation, openOperation } from "./operation.ts";
import { makeParents, PARENT_ATTRIBUTE, pruneParents } from "./parents.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { sweep } from "./sweep.ts";
import {
  alreadyVolume,
  findVolume,
  type LockedVolume,
  lockForeign,
  lockVolume,
  type VolumeAddress,
} from "./volumes.ts";

// The three ways in which the set of volumes changes. Each has one commit point, a rename or one attribute: before it
// everything is undone on failure, after it the next mutating command finishes what a kill left.

/** With less free a location counts as full. */
const FULL_BELOW_BYTES = 1024 ** 2;

/**
 * Builds a volume aside and publishes it with its record in one rename. `finish` comes after the record, for what may
 * leave no room for one. Throws ALREADY_EXISTS, NO_SPACE.
 */
export async function publishVolume(
  store: Store,
  record: VolumeRecord,
  build: (operation: Operation) => Promise<void>,
  finish: (operation: Operation) => Promise<void> = async () => {},
): Promise<void> {
  const { steps, location, form } = store;
  const path = `${location.path}/${record.storedName}`;
  await sweep(steps, location, form);
  requireFree(store, record);
  const operation = await openOperation(steps, location);
  await using closing = new Deferred();
  closing.defer(() => operation.close());
  await using undo = new Deferred();
  undo.defer(() => removeBuilt(store, operation));
  await explainFullDisk(store, operation, build);
  await writeAttribute(steps, operation.volumePath, RECORD_ATTRIBUTE, formatRecord(record));
  await finish(operation);
  await syncPath(steps, operation.volumePath);
  undo.defer(() => pruneParents(steps, location, record.storedName));
  await renameIntoPlace(store, record, operation);
  undo.defer(() => renamePath(steps, path, operation.volumePath));
  // On btrfs a file that was renamed after its first fsync may else come back under both names after a power cut.
  await syncPath(steps, path);
  await syncParent(steps, path, location.path);
  undo.cancel();
}

/** Destroys a volume. Throws NOT_FOUND, BUSY with its holders; then nothing has changed. */
export async function dropVolume(store: Store, address: VolumeAddress): Promise<void> {
  const { steps, location, form } = store;
  await sweep(steps, location, form);
  const volume = await lockVolume(store, address);
  await using closing = new Deferred();
  closing.defer(async () => volume.close());
  requireUnheld(address, await form.holders(volume.path, volume.fd));
  await using undo = new Deferred();
  const restore = await form.release?.(steps, volume.path);
  if (restore) undo.defer(restore);
  const trash = await openTrash(store);
  closing.defer(() => trash.close());
  await renamePath(steps, volume.path, trash.volumePath);
  undo.defer(() => putBack(store, trash, volume));
  // What was mounted between the first look and the rename shows now.
  if (!steps.planning) requireUnheld(address, await form.holders(trash.volumePath, volume.fd));
  await syncParent(steps, volume.path, location.path);
  undo.cancel();
  await removeDropped(store, address, trash.volumePath, trash.fd < 0 ? volume.fd : trash.fd);
}

/** Gives a foreign object its record. Throws NOT_FOUND, ALREADY_EXISTS, UNSUPPORTED when the object cannot be a volume. */
export async function adoptVolume(
  store: Store,
  record: VolumeRecord,
  examine: (path: string, fd: number) => Promise<VolumeRecord>,
): Promise<VolumeRecord> {
  const { steps, location, form } = store;
  await sweep(steps, location, form);
  const object = await lockForeign(store, record);
  try {
    const status = findStatus(object.path);
    if (!status || !form.matches(status)) {
      throw new MosaicError(
        "UNSUPPORTED",
        `${quote(record.storedName)} is not ${form.description}, so it cannot be adopted`,
        { name: record.name },
      );
    }
    if (getAttribute(object.fd, PARENT_ATTRIBUTE)) {
      throw new MosaicError(
        "UNSUPPORTED",
        `${quote(record.storedName)} is a directory that holds volumes, so it cannot be adopted`,
        { name: record.name },
      );
    }
    const complete = await examine(object.path, object.fd);
    await writeRecordInPlace(store, complete, object);
    return complete;
  } finally {
    object.close();
  }
}

/** Throws BUSY when somebody holds the volume. */
export function requireUnheld(record: { readonly name: string }, holders: readonly Holder[]): void {
  if (holders.length === 0) return;
  const shown = holders.slice(0, 5).map(describeHolder).join("; ");
  const more = holders.length > 5 ? `; and ${holders.length - 5} more` : "";
  throw new MosaicError("BUSY", `it is ${shown}${more}`, {
    name: record.name,
    holders,
  });
}

async function writeRecordInPlace(
  store: Store,
  record: VolumeRecord,
  object: { path: string; fd: number },
): Promise<void> {
  const { steps, location } = store;
  const previous = getAttribute(object.fd, RECORD_ATTRIBUTE);
  const operation = await openOperation(steps, location);
  await using closing = new Deferred();
  closing.defer(() => operation.close());
  await using undo = new Deferred();
  await makeParents(steps, location, record.storedName, operation.path);
  undo.defer(() => restoreAttribute(steps, object, previous));
  await writeAttribute(steps, object.path, RECORD_ATTRIBUTE, formatRecord(record));
  await syncPath(steps, object.path);
  undo.cancel();
}

async function restoreAttribute(
  steps: Steps,
  object: { path: string; fd: number },
  previous: Buffer | undefined,
): Promise<void> {
  if (previous) return writeAttribute(steps, object.path, RECORD_ATTRIBUTE, previous.toString());
  const text = `setfattr -x ${RECORD_ATTRIBUTE} ${object.path}`;
  return steps.take<void>(
    { text, kind: "call" },
    () => removeAttribute(object.fd, RECORD_ATTRIBUTE),
    undefined,
  );
}

function requireFree(store: Store, record: VolumeRecord): void {
  const found = findVolume(store.location, store.form, record.storedName);
  if (found.state === "volume") throw alreadyExists(record, found.record);
  if (found.state === "foreign") throw nameTaken(record, found.why);
}

function alreadyExists(record: VolumeRecord, existing: VolumeRecord): MosaicError {
  if (existing.name === record.name) return alreadyVolume(existing);
  const message = `the name is taken: its place ${quote(record.storedName)} belongs to the volume ${quote(existing.name)}`;
  return new MosaicError("ALREADY_EXISTS", message, { name: record.name, owner: existing.name });
}

function nameTaken(record: VolumeRecord, why: string): MosaicError {
  const message = `the name is taken by something that is no volume: ${why}`;
  return new MosaicError("ALREADY_EXISTS", message, { name: record.name, reason: "foreign" });
}

async function renameIntoPlace(store: Store, record: VolumeRecord, operation: Operation): Promise<void> {
  const { steps, location } = store;
  for (;;) {
    await makeParents(steps, location, record.storedName, operation.path);
    try {
      return await renamePath(steps, operation.volumePath, `${location.path}/${record.storedName}`);
    } catch (thrown) {
      if (hasErrno(thrown, "EEXIST")) {
        requireFree(store, record);
        throw nameTaken(record, "it appeared meanwhile");
      }
      // A drop removed the empty parent between our two steps.
      if (!hasErrno(thrown, "ENOENT") || !record.storedName.includes("/")) throw thrown;
    }
  }
}

/** A volume that is not dropped after all gets its name back; where that is taken by now, another one. */
async function putBack(store: Store, trash: Trash, volume: LockedVolume): Promise<void> {
  const { storedName, id } = volume.record;
  try {
    if (trash.path) await makeParents(store.steps, store.location, storedName, trash.path);
    await renamePath(store.steps, trash.volumePath, volume.path);
  } catch (thrown) {
    // A stop is no reason for another name: the undoing is tried again.
    if (thrown instanceof MosaicError && thrown.code === "CANCELLED") throw thrown;
    const kept = `${store.location.path}/${storedName.replaceAll("/", ".")}.kept-${id}`;
    await renamePath(store.steps, trash.volumePath, kept);
  }
}

async function removeDropped(
  store: Store,
  address: VolumeAddress,
  path: string,
  lockFd: number,
): Promise<void> {
  try {
    await pruneParents(store.steps, store.location, address.storedName);
    await store.form.remove(store.steps, path, lockFd);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    const message = `the volume is dropped, but not all of it could be removed: ${thrown.message}; the next command that changes something tries again`;
    throw new MosaicError(thrown.code, message, { ...thrown.details, dropped: true }, thrown);
  }
}

/** Builds in an operation; a tool that runs out of space does not always say so: what failed on a full disk is NO_SPACE. */
export async function explainFullDisk(
  { steps, location }: Store,
  operation: Operation,
  build: (operation: Operation) => Promise<void>,
): Promise<void> {
  try {
    await build(operation);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "TOOL_FAILED") throw thrown;
    const { bavail, bsize } = statfsSync(location.path);
    // A quota does not show there; what was begun is of no use any more.
    const isFile = findStatus(operation.volumePath)?.isFile() ?? false;
    const isFull =
      bavail * bsize < FULL_BELOW_BYTES ||
      (isFile && !(await canGrow(steps, operation.volumePath, FULL_BELOW_BYTES)));
    if (!isFull) throw thrown;
    throw new MosaicError("NO_SPACE", `the location is full: ${thrown.message}`, thrown.details, thrown);
  }
}

async function removeBuilt(store: Store, operation: Operation): Promise<void> {
  const status = findStatus(operation.volumePath);
  if (!status) return;
  // Half-built it may be anything: an empty directory in place of a subvolume, a file without content.
  if (store.form.matches(status)) await store.form.remove(store.steps, operation.volumePath, operation.fd);
}

/** Where a drop puts a volume; `path` is its operation's directory. */
type Trash = Pick<Operation, "volumePath" | "fd" | "close"> & { readonly path?: string };

/** Opens an operation's directory or, on a full disk, the one place that needs no new directory. */
async function openTrash(store: Store): Promise<Trash> {
  try {
    return await openOperation(store.steps, store.location);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "NO_SPACE") throw thrown;
    return { volumePath: fullDiskTrash(store.location), fd: -1, close: async () => {} };
  }
}
