import { constants, openSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { lockIfStill } from "../location/operation.ts";
import { calling } from "../system/errno.ts";
import { closeFd, listDirectory } from "../system/files.ts";
import { findProcesses, type Holder } from "../system/holders.ts";
import { findLoopDevice, toExportKey } from "../system/loop.ts";
import { findServer, hasServed } from "../system/nbdserver.ts";
import { findMountedDisk, unmountDisk } from "../system/ploopdevice.ts";
import { exportsDirectoryOf, makeRunDirectory } from "../system/rundir.ts";
import type { Steps } from "../system/steps.ts";
import {
  endDaemon,
  exportPathOf,
  findDaemon,
  isShown,
  isShownHere,
  isStopped,
  removeDaemon,
} from "../system/storagedaemon.ts";
import type { RawFile } from "./images.ts";

// An export: the directory below /run of one image, with the daemon that shows it. Who starts or ends a daemon has the
// flock of that directory; a daemon that no device uses and whose directory is not locked was left by a killed run.

const LOCK_DEADLINE_MS = 60_000;
const POLL_MS = 5;

/** The directory for the export of an image. */
export function exportDirectoryOf(identity: string, id: string): string {
  return `${exportsDirectoryOf(identity)}/${id}`;
}

/** The directories of all exports of a storage. */
export function listExports(identity: string): string[] {
  return listDirectory(exportsDirectoryOf(identity)).map((id) => exportDirectoryOf(identity, id));
}

/** Shows an image as a file, as it is shown already where a device uses that. Throws BUSY, DAMAGED. */
export async function openExport(
  steps: Steps,
  directory: string,
  show: () => Promise<void>,
  readOnly: boolean,
): Promise<RawFile> {
  const path = exportPathOf(directory);
  if (steps.planning) {
    await show();
    return { path, fd: -1, close() {} };
  }
  requireNotStopped(directory);
  const lockFd = await lockExport(directory);
  try {
    if (!findLoopDevice(toExportKey(path))) await startAnew(steps, directory, show);
    requireAlive(directory);
    const fd = calling("open", path, () => openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR));
    const close = () => {
      closeFd(fd);
      closeFd(lockFd);
    };
    return { path, fd, close };
  } catch (thrown) {
    closeFd(lockFd);
    throw thrown;
  }
}

/** Ends the daemon of an export that no device uses. */
export async function closeExport(steps: Steps, directory: string): Promise<void> {
  if (!isExported(directory)) return;
  const lockFd = await lockExport(directory);
  try {
    if (!isInUse(directory)) await endExport(steps, directory);
  } finally {
    closeFd(lockFd);
  }
}

function isInUse(directory: string): boolean {
  const device = findLoopDevice(toExportKey(exportPathOf(directory)));
  return device !== undefined || findServer(directory) !== undefined;
}

/** Ends the daemons of a storage that killed runs left, or that were left by a umount that was not ours. */
export async function sweepExports(steps: Steps, identity: string): Promise<void> {
  for (const directory of listExports(identity)) {
    const lockFd = lockIfStill(directory);
    if (lockFd === undefined) continue;
    try {
      if (isAbandoned(directory)) await endExport(steps, directory);
    } catch (thrown) {
      // What does not end stays for `check`: the command that sweeps has another purpose.
      if (!(thrown instanceof MosaicError) || thrown.code === "CANCELLED") throw thrown;
    } finally {
      closeFd(lockFd);
    }
  }
}

/** Whether nothing uses an export: no device, nobody who attached it, and no tool that a killed run left. */
export function isAbandoned(directory: string): boolean {
  return !isInUse(directory) && findExportUsers(directory).length === 0;
}

/** The processes that have the file of an export open, beside the daemon itself. */
export function findExportUsers(directory: string): Holder[] {
  const path = exportPathOf(directory);
  return findProcesses(path, (open) => open === path);
}

/** Whether there is anything of an export. */
export function isExported(directory: string): boolean {
  return listDirectory(directory).length > 0 || findDaemon(directory) !== undefined;
}

/** Whether the daemon of an export is gone while its file or socket is still there: every use of it fails. */
export function isDead(directory: string): boolean {
  return (isShown(directory) || hasServed(directory)) && findDaemon(directory) === undefined;
}

/** Throws UNAVAILABLE for an export whose daemon is stopped: a call that needs it would wait for ever. */
export function requireNotStopped(directory: string): void {
  const daemon = isExported(directory) ? findDaemon(directory) : undefined;
  if (daemon === undefined || !isStopped(daemon)) return;
  const message = `its storage daemon, process ${daemon}, is stopped: let it go on with kill -CONT ${daemon}`;
  throw new MosaicError("UNAVAILABLE", message, { directory, pid: daemon });
}

/** Throws DAMAGED for an export whose daemon died while a device uses it. */
export function requireNotDead(directory: string): void {
  if (findLoopDevice(toExportKey(exportPathOf(directory))) && !isAlive(directory)) throw deadError(directory);
}

/** DAMAGED for an export whose daemon died. */
export function deadError(directory: string): MosaicError {
  const message =
    "its storage daemon died while it was in use: what was not synced is lost; unmount it and detach it, and use it again";
  return new MosaicError("DAMAGED", message, { directory, reason: "dead-daemon" });
}

/** Starts a daemon in place of one that only waits to be ended; a start that fails leaves nothing behind. */
export async function startAnew(steps: Steps, directory: string, start: () => Promise<void>): Promise<void> {
  await endUnused(steps, directory);
  try {
    await start();
  } catch (thrown) {
    await (findMountedDisk(directory) === undefined ? removeDaemon(directory) : endExport(steps, directory));
    throw thrown;
  }
}

/** Of one that only waits nobody knows how it was started. */
async function endUnused(steps: Steps, directory: string): Promise<void> {
  if (!isAlive(directory) && !isShown(directory) && !hasServed(directory)) return;
  await endExport(steps, directory);
  makeRunDirectory(directory);
}

/** Ends what shows an image. */
function endExport(steps: Steps, directory: string): Promise<void> {
  const descriptor = findMountedDisk(directory);
  return descriptor === undefined ? endDaemon(steps, directory) : unmountDisk(steps, directory, descriptor);
}

/** The kernel does not die alone. */
function isAlive(directory: string): boolean {
  return findDaemon(directory) !== undefined || findMountedDisk(directory) !== undefined;
}

function requireAlive(directory: string): void {
  if (!isAlive(directory)) throw deadError(directory);
  if (isShownHere(directory)) return;
  const message =
    "its storage daemon shows it in another mount namespace: use it from there, or unmount and detach it";
  throw new MosaicError("UNAVAILABLE", message, { directory });
}

/** Takes the lock of an export, and makes its directory. Throws LOCKED. */
export async function lockExport(directory: string): Promise<number> {
  const deadline = performance.now() + LOCK_DEADLINE_MS;
  for (;;) {
    makeRunDirectory(directory);
    const fd = lockIfStill(directory);
    if (fd !== undefined) return fd;
    if (performance.now() > deadline)
      throw new MosaicError("LOCKED", `somebody is at work on the export ${JSON.stringify(directory)}`, {
        directory,
      });
    await Bun.sleep(POLL_MS);
  }
}
