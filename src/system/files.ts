import {
  type BigIntStats,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { calling, hasErrno, unlessErrno } from "./errno.ts";
import { ioctl, renameExchange, renameNoReplace, setAttribute, syncFilesystem } from "./libc.ts";
import { type Steps, shellQuote } from "./steps.ts";

// Reading is plain functions; every change is a step. Paths are absolute, modes do not depend on the umask.

/** Which file this is, whatever its path: device and inode. */
export type FileKey = string & { readonly __fileKey: true };

/** What is at a path, links not followed; undefined when nothing is. */
export function findStatus(path: string): BigIntStats | undefined {
  return calling("lstat", path, () => lstatSync(path, { bigint: true, throwIfNoEntry: false }));
}

/** The identity of an open file. */
export function fileKeyOf(fd: number): FileKey {
  const stat = calling("fstat", `fd ${fd}`, () => fstatSync(fd, { bigint: true }));
  return toFileKey(stat.dev, stat.ino);
}

/** The identity made of a device number and an inode number. */
export function toFileKey(device: bigint, inode: bigint): FileKey {
  return `${device}:${inode}` as FileKey;
}

/** Opens a path for reading, links at its end not followed, and without waiting where it is a FIFO. */
export function openPath(path: string, flags: number = constants.O_RDONLY): number {
  return calling("open", path, () => openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK));
}

/** Opens a directory, links at its end not followed. */
export function openDirectory(path: string): number {
  return openPath(path, constants.O_RDONLY | constants.O_DIRECTORY);
}

/** Closes a descriptor; one that is not open is a bug and throws. */
export function closeFd(fd: number): void {
  calling("close", `fd ${fd}`, () => closeSync(fd));
}

/** Makes a directory with exactly this mode; fails with EEXIST where something is. */
export function makeDirectory(steps: Steps, path: string, mode: number): Promise<void> {
  return change(steps, ["mkdir", "-m", mode.toString(8), path], () =>
    calling("mkdir", path, () => {
      mkdirSync(path, { mode });
      // Only where it is needed: another process may take an empty directory away meanwhile.
      if ((process.umask() & mode) !== 0) chmodSync(path, mode);
    }),
  );
}

/** Makes a sparse file of `sizeBytes`, readable by root only, and gives it open for reading and writing; -1 in a plan. */
export function makeSparseFile(steps: Steps, path: string, sizeBytes: number): Promise<number> {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const action = () => {
    const fd = calling("open", path, () => openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
    try {
      calling("ftruncate", path, () => ftruncateSync(fd, sizeBytes));
      return fd;
    } catch (thrown) {
      closeFd(fd);
      throw thrown;
    }
  };
  return steps.take(
    { text: shellQuote(["truncate", "-s", String(sizeBytes), path]), kind: "call" },
    action,
    -1,
  );
}

/** Gives an open file another size, durably. */
export function setFileSize(steps: Steps, path: string, fd: number, sizeBytes: number): Promise<void> {
  return change(steps, ["truncate", "-s", String(sizeBytes), path], () => {
    calling("ftruncate", path, () => ftruncateSync(fd, sizeBytes));
    calling("fsync", path, () => fsyncSync(fd));
  });
}

/** Gives a file the owner and the mode of another one. */
export function copyOwner(steps: Steps, from: BigIntStats, path: string): Promise<void> {
  const [uid, gid, mode] = [Number(from.uid), Number(from.gid), Number(from.mode & 0o7777n)];
  return change(steps, ["chown", `${uid}:${gid}`, path], () => {
    calling("chown", path, () => chownSync(path, uid, gid));
    calling("chmod", path, () => chmodSync(path, mode));
  });
}

/** Exchanges what is at two paths in one step. */
export function exchangePaths(steps: Steps, one: string, other: string): Promise<void> {
  return change(steps, ["mv", "--exchange", "--no-target-directory", one, other], () =>
    renameExchange(one, other),
  );
}

/** Sets the mode of a directory that was just made. */
export function setMode(steps: Steps, path: string, mode: number): Promise<void> {
  return change(steps, ["chmod", mode.toString(8), path], () =>
    calling("chmod", path, () => chmodSync(path, mode)),
  );
}

/** Makes `fd` share all blocks of `fromFd`, copy-on-write: ioctl_ficlone(2). */
export function shareBlocks(
  steps: Steps,
  from: string,
  fromFd: number,
  to: string,
  fd: number,
): Promise<void> {
  const FICLONE = 0x40049409;
  return change(steps, ["cp", "--reflink=always", from, to], () => void ioctl(fd, FICLONE, fromFd, to));
}

/** Sets an extended attribute; with `create` it fails with EEXIST where it is set. */
export function writeAttribute(
  steps: Steps,
  path: string,
  name: string,
  value: string,
  create = false,
): Promise<void> {
  return change(steps, ["setfattr", "-n", name, "-v", value, path], () => {
    const fd = openPath(path);
    try {
      setAttribute(fd, name, value, create);
    } finally {
      closeFd(fd);
    }
  });
}

/** Makes a file or directory durable: fsync(2). */
export function syncPath(steps: Steps, path: string): Promise<void> {
  return change(steps, ["sync", path], () => {
    const fd = openPath(path);
    try {
      calling("fsync", path, () => fsyncSync(fd));
    } finally {
      closeFd(fd);
    }
  });
}

/** Makes durable all of the filesystem of a mount that only its descriptor shows. */
export function syncMounted(steps: Steps, mountFd: number): Promise<void> {
  return change(steps, ["sync", "--file-system", "DETACHED"], () => {
    // The descriptor of a mount takes no syncfs, that of its root does.
    const rootFd = openDirectory(`/proc/self/fd/${mountFd}/.`);
    try {
      syncFilesystem(rootFd);
    } finally {
      closeFd(rootFd);
    }
  });
}

/** Makes durable what was renamed into or out of the directory of `path`; where that is gone, in the one above, up to `top`. */
export async function syncParent(steps: Steps, path: string, top: string): Promise<void> {
  const parent = dirname(path);
  try {
    await syncPath(steps, parent);
  } catch (thrown) {
    if (!hasErrno(thrown, "ENOENT") || parent === top) throw thrown;
    await syncParent(steps, parent, top);
  }
}

/** Renames without ever replacing: fails with EEXIST where the target exists. */
export function renamePath(steps: Steps, from: string, to: string): Promise<void> {
  return change(steps, ["mv", "--no-clobber", "--no-target-directory", from, to], () =>
    renameNoReplace(from, to),
  );
}

/** Whether a file can become this much larger; false when the disk or a quota is full. What was written stays. */
export function canGrow(steps: Steps, path: string, moreBytes: number): Promise<boolean> {
  const { O_WRONLY, O_APPEND } = constants;
  const action = () => {
    const fd = openPath(path, O_WRONLY | O_APPEND);
    try {
      const write = () => writeSync(fd, Buffer.alloc(moreBytes)) === moreBytes;
      return unlessErrno(["ENOSPC", "EDQUOT"], () => calling("write", path, write)) ?? false;
    } finally {
      closeFd(fd);
    }
  };
  const text = `head -c ${moreBytes} /dev/zero >>${shellQuote([path])}`;
  return steps.take({ text, kind: "call" }, action, true);
}

/** Removes a file. */
export function removeFile(steps: Steps, path: string): Promise<void> {
  return change(steps, ["rm", path], () => calling("unlink", path, () => unlinkSync(path)));
}

/** Removes an empty directory; false when it is not empty or not there. */
export async function removeEmptyDirectory(steps: Steps, path: string): Promise<boolean> {
  const action = () =>
    unlessErrno(["ENOTEMPTY", "EEXIST", "ENOENT", "EBUSY"], () => {
      calling("rmdir", path, () => rmdirSync(path));
      return true;
    }) ?? false;
  return steps.take({ text: shellQuote(["rmdir", path]), kind: "call" }, action, true);
}

/** The names in a directory; none when it is not there. */
export function listDirectory(path: string): string[] {
  return unlessErrno(["ENOENT"], () => calling("readdir", path, () => readdirSync(path))) ?? [];
}

function change(steps: Steps, argv: readonly string[], action: () => void): Promise<void> {
  return steps.take<void>({ text: shellQuote(argv), kind: "call" }, action, undefined);
}
