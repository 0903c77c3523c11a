import { MosaicError, quote } from "../base/errors.ts";
import { hasErrno, unlessErrno } from "../system/errno.ts";
import {
  closeFd,
  fileKeyOf,
  findStatus,
  makeDirectory,
  openDirectory,
  removeEmptyDirectory,
  toFileKey,
} from "../system/files.ts";
import { tryLock } from "../system/libc.ts";
import type { Steps } from "../system/steps.ts";
import type { Location } from "./location.ts";

// Every change of a volume works in a directory of its own, `.mosaic/<id>/`, whose flock it holds: what it builds is
// there before it is published, and what it drops is there before it is removed. An operation directory whose lock is
// free was left by a killed run; the next mutating command sweeps it.

const WORK_DIRECTORY_NAME = ".mosaic";
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
  const work = workDirectory(location);
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

/** Where the directories of operations are, while there are any. */
export function workDirectory(location: Location): string {
  return `${location.path}/${WORK_DIRECTORY_NAME}`;
}

/** The place for a volume that is dropped while no operation directory can be made, of which there is one. */
export function fullDiskTrash(location: Location): string {
  return `${location.path}/${FULL_DISK_TRASH}`;
}

async function makeWorkDirectory(steps: Steps, work: string): Promise<void> {
  try {
    await makeDirectory(steps, work, 0o700);
  } catch (thrown) {
    if (!hasErrno(thrown, "EEXIST")) throw thrown;
    requireWorkDirectory(work);
  }
}

/** Throws DAMAGED when `.mosaic` is there and not a directory of root's. */
export function requireWorkDirectory(work: string): void {
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
export function lockIfStill(path: string): number | undefined {
  const fd = unlessErrno(["ENOENT", "ENOTDIR", "ELOOP"], () => openDirectory(path));
  if (fd === undefined) return undefined;
  if (tryLock(fd)) {
    const status = findStatus(path);
    if (status && toFileKey(status.dev, status.ino) === fileKeyOf(fd)) return fd;
  }
  closeFd(fd);
  return undefined;
}
