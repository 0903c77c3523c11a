import { constants, openSync, readSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { MosaicError } from "../../base/errors.ts";
import { backingName, baseDirectory, basePath, type Link, makeBaseDirectory } from "../../images/bases.ts";
import { readHeader } from "../../images/qcow2.ts";
import { Deferred } from "../../location/deferred.ts";
import type { Operation } from "../../location/operation.ts";
import { formatRecord, RECORD_ATTRIBUTE } from "../../location/record.ts";
import type { Store } from "../../location/store.ts";
import type { LockedVolume } from "../../location/volumes.ts";
import { copyAttributes } from "../../system/attributes.ts";
import { calling } from "../../system/errno.ts";
import {
  closeFd,
  copyOwner,
  exchangePaths,
  findStatus,
  makeSparseFile,
  openPath,
  removeEmptyDirectory,
  removeFile,
  renamePath,
  syncParent,
  syncPath,
  writeAttribute,
} from "../../system/files.ts";
import { tryLock } from "../../system/libc.ts";
import { runTool } from "../../system/runner.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";

/** Makes an image that reads all from the image `backing`, which is not looked at, or one that is empty; children keep `lockFd`. */
export async function makeImage(
  steps: Steps,
  path: string,
  sizeBytes: number,
  backing: string | null,
  lockFd: number,
): Promise<void> {
  // qemu-img would make it readable by others.
  const fd = await makeSparseFile(steps, path, 0);
  if (!steps.planning) closeFd(fd);
  const below = backing === null ? [] : ["-u", "-F", "qcow2", "-b", backing];
  const args = ["create", "-q", "-f", "qcow2", ...below, "-o", "compat=1.1", path, String(sizeBytes)];
  await runTool(steps, "qemu-img", args, { fds: [lockFd] });
}

/**
 * Makes a new image for a volume in `.mosaic-base`, where it is to change places with the image that the volume has now: then that
 * one is the base of the new one. Gives the name of the base. The new image is locked as the volume is.
 */
export async function prepareOverlay(
  { steps, location }: Store,
  volume: LockedVolume,
  [top]: readonly Link[],
  operation: Operation,
  closing: Deferred,
  undo: Deferred,
): Promise<string> {
  const base = crypto.randomUUID();
  const [staged, path] = [`${operation.path}/overlay`, basePath(location, base)];
  await makeBaseDirectory(steps, location);
  undo.defer(async () => void (await removeEmptyDirectory(steps, baseDirectory(location))));
  const remove = async (made: string) => {
    if (findStatus(made)) await removeFile(steps, made);
  };
  undo.defer(() => remove(path));
  // Where it stays there, the operation's directory would stay too.
  await using staging = new Deferred();
  staging.defer(() => remove(staged));
  const name = backingName(volume.record.storedName, base);
  await makeImage(steps, staged, top?.header.sizeBytes ?? 0, name, operation.fd);
  if (!steps.planning) closing.defer(lockImage(staged));
  await renamePath(steps, staged, path);
  // Only there it is no left-over that would be taken for the volume.
  const status = findStatus(volume.path);
  if (status) await copyOwner(steps, status, path);
  await copyAttributes(steps, volume.path, path, operation.fd);
  await writeAttribute(steps, path, RECORD_ATTRIBUTE, formatRecord(volume.record));
  await syncPath(steps, path);
  await syncPath(steps, baseDirectory(location));
  return base;
}

/** Lets a volume and the overlay that was prepared for it change places: the commit. */
export async function exchangeOverlay(
  { steps, location }: Store,
  volume: LockedVolume,
  base: string,
  undo: Deferred,
): Promise<void> {
  const exchange = () => exchangePaths(steps, basePath(location, base), volume.path);
  await exchange();
  undo.defer(exchange);
  await syncPath(steps, baseDirectory(location));
  await syncParent(steps, volume.path, location.path);
}

/** Makes the name of the image below one that became a base right for where it lies now: no tool does it while it is open. */
export async function renameBacking({ steps, location }: Store, base: string): Promise<void> {
  const path = basePath(location, base);
  // In a plan there is no base to look at.
  if (steps.planning) return;
  const fd = calling("open", path, () => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
  try {
    const { backing, backingOffset } = readHeader(fd, path);
    const name = basename(backing ?? "");
    if (backing === null || backing === name) return;
    const text = shellQuote(["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", name, path]);
    await steps.take<void>({ text, kind: "call" }, () => writeName(fd, path, backingOffset, name), undefined);
    await syncPath(steps, path);
  } finally {
    closeFd(fd);
  }
}

/** All of it in one write, within one page: there is no moment with half a name. */
function writeName(fd: number, path: string, offset: number, name: string): void {
  const [start, length] = [16, Buffer.byteLength(name)];
  const head = Buffer.alloc(offset + length - start);
  calling("read", path, () => readSync(fd, head, 0, head.length, start));
  head.writeUInt32BE(length, 0);
  head.write(name, offset - start);
  calling("write", path, () => writeSync(fd, head, 0, head.length, start));
}

function lockImage(path: string): () => Promise<void> {
  const fd = openPath(path);
  if (tryLock(fd)) return async () => closeFd(fd);
  closeFd(fd);
  throw new MosaicError("LOCKED", `somebody locked ${JSON.stringify(path)}, which was just made`, { path });
}
