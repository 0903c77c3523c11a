import { constants, readlinkSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno } from "../system/errno.ts";
import { closeFd, openDirectory, openPath } from "../system/files.ts";
import type { DirectoryPlace } from "../system/holders.ts";
import { findMountOf, type Mount } from "../system/mounts.ts";

/** A directory to mount onto, open, so that it stays the same whatever happens to its path. */
export interface MountPoint {
  readonly path: string;
  readonly fd: number;
}

/** Opens the directory at a mount point. Throws NOT_FOUND, INVALID_ARGUMENT when it is no directory or a link. */
export function openTarget(target: string): MountPoint {
  const path = resolveTarget(target);
  try {
    return { path, fd: openDirectory(path) };
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT"))
      throw new MosaicError(
        "NOT_FOUND",
        `the mount point ${quote(target)} is not there: make it (mkdir ${target})`,
        { mountPoint: target },
        thrown,
      );
    if (hasErrno(thrown, "ELOOP", "ENOTDIR"))
      throw new MosaicError(
        "INVALID_ARGUMENT",
        `the mount point ${quote(target)} is not a directory, or is a symbolic link`,
        { mountPoint: target },
        thrown,
      );
    throw thrown;
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
  let fd: number;
  try {
    fd = openPath(path, O_PATH | constants.O_DIRECTORY);
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT")) return undefined;
    if (hasErrno(thrown, "ELOOP", "ENOTDIR"))
      throw new MosaicError(
        "INVALID_ARGUMENT",
        `the mount point ${quote(path)} is not a directory, or is a symbolic link`,
        { mountPoint: path },
        thrown,
      );
    throw thrown;
  }
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
