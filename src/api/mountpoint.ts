import { constants, readlinkSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno, unlessErrno } from "../system/errno.ts";
import { closeFd, openPath } from "../system/files.ts";
import type { DirectoryPlace } from "../system/holders.ts";
import { findMountOf, type Mount } from "../system/mounts.ts";
import { shellQuote } from "../system/steps.ts";

/** A directory to mount onto, open, so that it stays the same whatever happens to its path. */
export interface MountPoint {
  readonly path: string;
  readonly fd: number;
}

/** Opens the directory at a mount point. Throws NOT_FOUND, INVALID_ARGUMENT when it is no directory or a link. */
export function openTarget(target: string): MountPoint {
  const path = resolveTarget(target);
  const fd = openMountPoint(path, constants.O_RDONLY);
  if (fd !== undefined) return { path, fd };
  const advice = `make it (${shellQuote(["mkdir", target])})`;
  throw new MosaicError("NOT_FOUND", `the mount point ${quote(target)} is not there: ${advice}`, {
    mountPoint: target,
  });
}

/** The descriptor of a directory; undefined when nothing is there. Throws INVALID_ARGUMENT for anything else. */
function openMountPoint(path: string, flags: number): number | undefined {
  try {
    return unlessErrno(["ENOENT"], () => openPath(path, flags | constants.O_DIRECTORY));
  } catch (thrown) {
    if (!hasErrno(thrown, "ELOOP", "ENOTDIR")) throw thrown;
    const message = `the mount point ${quote(path)} is not a directory, or is a symbolic link`;
    throw new MosaicError("INVALID_ARGUMENT", message, { mountPoint: path }, thrown);
  }
}

/** A mount point as an absolute path. Throws INVALID_ARGUMENT. */
export function resolveTarget(target: string): string {
  if (target === "") throw new MosaicError("INVALID_ARGUMENT", "the mount point is empty");
  try {
    return isAbsolute(target) ? resolve(target) : resolve(process.cwd(), target);
  } catch (thrown) {
    throw new MosaicError(
      "INVALID_ARGUMENT",
      `cannot find ${quote(target)}: the working directory is gone`,
      {},
      thrown,
    );
  }
}

/** The mount on top at a path, which is no symbolic link; undefined when nothing is mounted exactly there. */
export function findMountAt(path: string): Mount | undefined {
  const O_PATH = 0o10000000;
  const fd = openMountPoint(path, O_PATH);
  if (fd === undefined) return undefined;
  try {
    const mount = findMountOf(fd);
    return isRootOf(mount, fd) ? mount : undefined;
  } finally {
    closeFd(fd);
  }
}

/** Whether an open directory is the root of a mount. */
export function isRootOf(mount: Mount, fd: number): boolean {
  return mount.mountPoint === calling("readlink", `fd ${fd}`, () => readlinkSync(`/proc/self/fd/${fd}`));
}

/** Whether a mount shows exactly this directory. */
export function isMountOf(mount: Mount, place: DirectoryPlace): boolean {
  return mount.device === place.device && mount.root === place.root;
}
