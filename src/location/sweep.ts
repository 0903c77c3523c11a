import { MosaicError, quote } from "../base/errors.ts";
import { unlessErrno } from "../system/errno.ts";
import {
  closeFd,
  findStatus,
  listDirectory,
  openPath,
  removeEmptyDirectory,
  removeFile,
} from "../system/files.ts";
import { describeHolder, type Holder } from "../system/holders.ts";
import { getAttribute, tryLock } from "../system/libc.ts";
import type { Steps } from "../system/steps.ts";
import type { Form } from "./form.ts";
import type { Location } from "./location.ts";
import { isLockedPath } from "./locks.ts";
import { fullDiskTrash, lockIfStill, requireWorkDirectory, workDirectory } from "./operation.ts";
import { pruneParents } from "./parents.ts";
import { parseRecord, RECORD_ATTRIBUTE } from "./record.ts";

// An operation directory whose lock is free was left by a killed run.

/**
 * Removes what killed runs left: nothing that somebody works on, nothing that somebody uses. Gives the errors of what
 * could not be removed, which stays for `check`: the command that sweeps has another purpose.
 */
export async function sweep(steps: Steps, location: Location, form: Form): Promise<MosaicError[]> {
  await form.sweep?.(steps);
  const errors = [await sweepObject(steps, location, form, fullDiskTrash(location))];
  const work = workDirectory(location);
  if (findStatus(work)) {
    requireWorkDirectory(work);
    for (const entry of listDirectory(work))
      errors.push(...(await sweepOperation(steps, location, form, `${work}/${entry}`)));
    await removeEmptyDirectory(steps, work);
  }
  return errors.filter((error) => error !== undefined);
}

/** As `sweep`, for one of the left-overs that `listLeftovers` gives. */
export async function sweepLeftover(
  steps: Steps,
  location: Location,
  form: Form,
  path: string,
): Promise<MosaicError[]> {
  const work = workDirectory(location);
  const errors: (MosaicError | undefined)[] = [];
  if (path === fullDiskTrash(location)) errors.push(await sweepObject(steps, location, form, path));
  else if (path !== work) errors.push(...(await sweepOperation(steps, location, form, path)));
  if (findStatus(work)) await removeEmptyDirectory(steps, work);
  return errors.filter((error) => error !== undefined);
}

/** What lies in the places of operations that nobody works on. Throws DAMAGED when `.mosaic` is not ours. */
export function listLeftovers(location: Location): string[] {
  const work = workDirectory(location);
  if (findStatus(work)) requireWorkDirectory(work);
  const operations = listDirectory(work)
    .sort()
    .map((entry) => `${work}/${entry}`);
  const isAtWork = operations.some((path) => isLockedPath(path));
  const abandoned = [...operations, fullDiskTrash(location)].filter(
    (path) => findStatus(path) && !isLockedPath(path),
  );
  return abandoned.length > 0 || isAtWork || !findStatus(work) ? abandoned : [work];
}

async function sweepOperation(
  steps: Steps,
  location: Location,
  form: Form,
  path: string,
): Promise<(MosaicError | undefined)[]> {
  const fd = lockIfStill(path);
  if (fd === undefined) return [];
  const errors: (MosaicError | undefined)[] = [];
  try {
    for (const entry of listDirectory(path)) {
      if (entry === "parent") await removeEmptyDirectory(steps, `${path}/${entry}`);
      else errors.push(await sweepObject(steps, location, form, `${path}/${entry}`, fd));
    }
    await removeEmptyDirectory(steps, path);
    return errors;
  } finally {
    closeFd(fd);
  }
}

/** Gives the error when the object cannot be removed. */
async function sweepObject(
  steps: Steps,
  location: Location,
  form: Form,
  path: string,
  lockFd?: number,
): Promise<MosaicError | undefined> {
  const status = findStatus(path);
  if (!status) return undefined;
  // A second name of an image that is published: the other one stays.
  const isSecondName = status.isFile() && status.nlink > 1n;
  if (!isSecondName && !form.matches(status)) return undefined;
  const fd = unlessErrno(["ENOENT", "ELOOP", "ENXIO"], () => openPath(path));
  try {
    // A dropper without an operation directory has only the lock of the object itself.
    if (fd === undefined || (lockFd === undefined && !tryLock(fd))) return undefined;
    if (isSecondName) {
      await removeFile(steps, path);
      return undefined;
    }
    const holders = await form.holders(path, fd);
    if (holders.length > 0) return heldError(path, holders);
    const record = parseRecord(getAttribute(fd, RECORD_ATTRIBUTE) ?? Buffer.alloc(0));
    if (record) await pruneParents(steps, location, record.storedName);
    if (form.removeLeft) await form.removeLeft(steps, path);
    else await form.remove(steps, path, lockFd ?? fd);
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code === "CANCELLED") throw thrown;
    return thrown;
  } finally {
    if (fd !== undefined) closeFd(fd);
  }
}

function heldError(path: string, holders: readonly Holder[]): MosaicError {
  const users = holders.map(describeHolder).join("; ");
  return new MosaicError("BUSY", `${quote(path)} stays while it is used: it is ${users}`, { path, holders });
}
