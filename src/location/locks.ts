import { existsSync, readFileSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { unlessErrno } from "../system/errno.ts";
import { closeFd, findStatus, openPath } from "../system/files.ts";
import { findProcesses } from "../system/holders.ts";
import { tryLock } from "../system/libc.ts";
import { findMountOf } from "../system/mounts.ts";

const POLL_MS = 10;

/** Takes the exclusive lock of an open file, waiting `timeoutMs` for it. Throws LOCKED with the pids that have it. */
export async function takeLock(
  fd: number,
  path: string,
  subject: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!tryLock(fd)) {
    signal?.throwIfAborted();
    if (performance.now() >= deadline) throw lockedError(fd, path, subject, timeoutMs);
    await Bun.sleep(POLL_MS);
  }
}

function lockedError(fd: number, path: string, subject: string, timeoutMs: number): MosaicError {
  const pids = findLockOwners(fd, path);
  const owner = pids.length > 0 ? `process ${pids.join(", ")} is` : "somebody is";
  return new MosaicError(
    "LOCKED",
    `${subject} is locked: ${owner} at work on it, after ${timeoutMs / 1000} seconds still`,
    { pids },
  );
}

/** Whether somebody has the lock of an open file, found out without a try that would be in the way of others. */
export function isLocked(fd: number, path: string): boolean {
  return listLockTakers(fd, path).length > 0;
}

/** Whether somebody has the lock of what lies at a path; false when nothing does. */
export function isLockedPath(path: string): boolean {
  const fd = unlessErrno(["ENOENT", "ELOOP", "ENXIO"], () => openPath(path));
  if (fd === undefined) return false;
  try {
    return isLocked(fd, path);
  } finally {
    closeFd(fd);
  }
}

/**
 * The pids in /proc/locks for a file, which has there the device of its filesystem in hexadecimal: proc_locks(5). One
 * that ended is 0 there: a process that inherited the lock has it.
 */
function listLockTakers(fd: number, path: string): number[] {
  const [major = 0, minor = 0] = findMountOf(fd).device.split(":").map(Number);
  const hexadecimal = (number: number) => number.toString(16).padStart(2, "0");
  const file = `${hexadecimal(major)}:${hexadecimal(minor)}:${findStatus(path)?.ino}`;
  return readFileSync("/proc/locks", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1] === "FLOCK" && fields[5] === file)
    .map((fields) => Number(fields[4]));
}

/** The processes that have a lock: those that took it or, where they are gone, those that have the file open. */
function findLockOwners(fd: number, path: string): number[] {
  const takers = listLockTakers(fd, path).filter((pid) => pid > 0 && existsSync(`/proc/${pid}`));
  if (takers.length > 0) return [...new Set(takers)];
  const holders = findProcesses(path, (open) => open === path);
  return holders.flatMap((holder) => (holder.kind === "process" ? [holder.pid] : []));
}
