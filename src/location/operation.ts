import { MosaicError, quote } from "../base/errors.ts";
import { hasErrno, unlessErrno } from "../system/errno.ts";
import {
  closeFd,
  fileKeyOf,
  findStatus,
  listDirectory,
  makeDirectory,
  openDirectory,
  openPath,
  removeEmptyDirectory,
  removeFile,
  toFileKey,
} from "../system/files.ts";
import { getAttribute, tryLock } from "../system/libc.ts";
import type { Steps } from "../system/steps.ts";
import type { Form } from "./form.ts";
import type { Location } from "./location.ts";
import { pruneParents } from "./parents.ts";
import { parseRecord, RECORD_ATTRIBUTE } from "./record.ts";

// Every change of a volume works in a directory of its own, `.mosaic/<id>/`, whose flock it holds: what it builds is
// there before it is published, and what it drops is there before it is removed. An operation directory whose lock is
// free was left by a killed run; the next mutating command sweeps it.

const WORK_DIRECTORY = ".mosaic";
/** Where a drop puts a volume when the disk is too full to make a directory. */
const FULL_DISK_TRASH = ".mosaic.drop";

/** One operation's private directory. */
export interface Operation {
  readonly path: string;
  /** Holds the lock; children that get it keep the lock. -1 in a plan. */
  readonly fd: number;
  /** Where the volume is while it is built or removed. */
  readonly volumePath: string;
  /** Removes the directory, and `.mosaic` with it when it was the last. */
  close(): Promise<void>;
}

/** Starts an operation. Throws NO_SPACE on a full disk, DAMAGED when `.mosaic` is not a directory of root's. */
export async function openOperation(steps: Steps, location: Location): Promise<Operation> {
  const work = `${location.path}/${WORK_DIRECTORY}`;
  for (;;) {
    await makeWorkDirectory(steps, work);
    const path = `${work}/${crypto.randomUUID()}`;
    const fd = await makeLockedDirectory(steps, path).catch(async (thrown) => {
      await removeEmptyDirectory(steps, work);
      throw thrown;
    });
    if (fd !== undefined)
      return { path, fd, volumePath: `${path}/volume`, close: () => closeOperation(steps, work, path, fd) };
  }
}

async function closeOperation(steps: Steps, work: string, path: string, fd: number): Promise<void> {
  try {
    await removeEmptyDirectory(steps, path);
    await removeEmptyDirectory(steps, work);
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}

/** The place for a volume that is dropped while no operation directory can be made, of which there is one. */
export function fullDiskTrash(location: Location): string {
  return `${location.path}/${FULL_DISK_TRASH}`;
}

/** Removes what killed runs left: nothing that somebody works on, nothing that somebody uses. */
export async function sweep(steps: Steps, location: Location, form: Form): Promise<void> {
  await sweepObject(steps, location, form, fullDiskTrash(location));
  const work = `${location.path}/${WORK_DIRECTORY}`;
  if (!findStatus(work)) return;
  requireWorkDirectory(work);
  for (const entry of listDirectory(work)) await sweepOperation(steps, location, form, `${work}/${entry}`);
  await removeEmptyDirectory(steps, work);
}

async function makeWorkDirectory(steps: Steps, work: string): Promise<void> {
  try {
    await makeDirectory(steps, work, 0o700);
  } catch (thrown) {
    if (!hasErrno(thrown, "EEXIST")) throw thrown;
    requireWorkDirectory(work);
  }
}

function requireWorkDirectory(work: string): void {
  const status = findStatus(work);
  if (!status || (status.isDirectory() && status.uid === 0n && (status.mode & 0o077n) === 0n)) return;
  const message = `${quote(work)} is not a private directory of root's: look at it and remove it; mosaic makes its own`;
  throw new MosaicError("DAMAGED", message, { path: work });
}

/** Undefined when the directory was swept, or `.mosaic` removed, between two of our steps. */
async function makeLockedDirectory(steps: Steps, path: string): Promise<number | undefined> {
  try {
    await makeDirectory(steps, path, 0o700);
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT")) return undefined;
    throw thrown;
  }
  return steps.planning ? -1 : lockIfStill(path);
}

/** The locked descriptor of a directory; undefined when somebody else has the lock or it is not there any more. */
function lockIfStill(path: string): number | undefined {
  const fd = unlessErrno(["ENOENT", "ENOTDIR", "ELOOP"], () => openDirectory(path));
  if (fd === undefined) return undefined;
  if (tryLock(fd)) {
    const status = findStatus(path);
    if (status && toFileKey(status.dev, status.ino) === fileKeyOf(fd)) return fd;
  }
  closeFd(fd);
  return undefined;
}

async function sweepOperation(steps: Steps, location: Location, form: Form, path: string): Promise<void> {
  const fd = lockIfStill(path);
  if (fd === undefined) return;
  try {
    for (const entry of listDirectory(path)) {
      if (entry === "parent") await removeEmptyDirectory(steps, `${path}/${entry}`);
      else await sweepObject(steps, location, form, `${path}/${entry}`, fd);
    }
    await removeEmptyDirectory(steps, path);
  } finally {
    closeFd(fd);
  }
}

/** What cannot be removed stays for `check`, which names it: the command that sweeps has another purpose. */
async function sweepObject(
  steps: Steps,
  location: Location,
  form: Form,
  path: string,
  lockFd?: number,
): Promise<void> {
  const status = findStatus(path);
  if (!status) return;
  // A second name of an image that is published: the other one stays.
  const isSecondName = status.isFile() && status.nlink > 1n;
  if (!isSecondName && !form.matches(status)) return;
  const fd = unlessErrno(["ENOENT", "ELOOP", "ENXIO"], () => openPath(path));
  try {
    // A dropper without an operation directory has only the lock of the object itself.
    if (fd === undefined || (lockFd === undefined && !tryLock(fd))) return;
    if (isSecondName) return await removeFile(steps, path);
    if ((await form.holders(path, fd)).length > 0) return;
    const record = parseRecord(getAttribute(fd, RECORD_ATTRIBUTE) ?? Buffer.alloc(0));
    if (record) await pruneParents(steps, location, record.storedName);
    await form.remove(steps, path, lockFd ?? fd);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code === "CANCELLED") throw thrown;
  } finally {
    if (fd !== undefined) closeFd(fd);
  }
}
