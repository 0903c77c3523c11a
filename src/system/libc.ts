import { dlopen, ptr, read } from "bun:ffi";
import { closeSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { errnoName, systemError } from "./errno.ts";

// The only file with FFI. A wrong prototype corrupts memory, so it stays small, and what a kernel tool or node:fs
// offers is not here. Numbers come from the kernel's uapi headers; those from 424 on are the same on all machines.

const LIBRARIES = ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];
const NR = {
  renameat2: process.arch === "arm64" ? 276 : 316,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fspick: 433,
  openat2: 437,
  mount_setattr: 442,
  quotactl_fd: 443,
};
const ERANGE = 34;
const ENODATA = 61;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;

const PROTOTYPES = {
  syscall: { args: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], returns: "i64" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "u64"], returns: "i32" },
  isatty: { args: ["i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  dup2: { args: ["i32", "i32"], returns: "i32" },
  syncfs: { args: ["i32"], returns: "i32" },
  umount2: { args: ["ptr", "i32"], returns: "i32" },
  unlinkat: { args: ["i32", "ptr", "i32"], returns: "i32" },
  renameat: { args: ["i32", "ptr", "i32", "ptr"], returns: "i32" },
  lgetxattr: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i64" },
  fgetxattr: { args: ["i32", "ptr", "ptr", "u64"], returns: "i64" },
  flistxattr: { args: ["i32", "ptr", "u64"], returns: "i64" },
  fsetxattr: { args: ["i32", "ptr", "ptr", "u64", "i32"], returns: "i32" },
  fremovexattr: { args: ["i32", "ptr"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
} as const;

type Libc = ReturnType<typeof dlopen<typeof PROTOTYPES>>["symbols"];
let loaded: Libc | undefined;

function libc(): Libc {
  loaded ??= loadLibc();
  return loaded;
}

function loadLibc(): Libc {
  for (const library of LIBRARIES) {
    try {
      return dlopen(library, PROTOTYPES).symbols;
    } catch {
      // The other C library's name is next.
    }
  }
  throw new MosaicError("UNAVAILABLE", `Cannot load the C library: tried ${LIBRARIES.join(" and ")}`);
}

function checked(result: number | bigint, call: string, subject: string): number {
  if (Number(result) >= 0) return Number(result);
  throw systemError(call, subject, errnoName(lastErrno()));
}

/** Of the call just before. */
function lastErrno(): number {
  const location = libc().__errno_location();
  return location ? read.i32(location, 0) : 0;
}

function cstring(text: string | Buffer): Buffer {
  return typeof text === "string" ? Buffer.from(`${text}\0`) : Buffer.concat([text, Buffer.alloc(1)]);
}

function syscall(name: keyof typeof NR, subject: string, ...args: (number | Buffer)[]): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args.map((arg) =>
    typeof arg === "number" ? arg : ptr(arg),
  );
  return checked(libc().syscall(NR[name], a, b, c, d, e, f), name, subject);
}

/** Whether the kernel has a system call: one that it has answers nonsense with another error than ENOSYS. */
export function hasSystemCall(name: keyof typeof NR): boolean {
  try {
    syscall(name, name, -1, -1, -1, -1, -1);
  } catch (thrown) {
    return (thrown as MosaicError).details.errno !== "ENOSYS";
  }
  return true;
}

/** Opens `path` below the directory `directoryFd` with open(2) flags: never through a symlink, a magic link or another mount. */
export function openBeneath(directoryFd: number, path: string | Buffer, flags: number): number {
  const O_CLOEXEC = 0o2000000;
  const RESOLVE = 0x01 | 0x02 | 0x04 | 0x08; // NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH: openat2(2)
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE), 16);
  return syscall("openat2", path.toString(), directoryFd, cstring(path), how, 24);
}

/** Renames a path; fails with EEXIST where the target exists: rename(2), RENAME_NOREPLACE. */
export function renameNoReplace(from: string, to: string): void {
  syscall("renameat2", to, AT_FDCWD, cstring(from), AT_FDCWD, cstring(to), 1);
}

/** Exchanges what is at two paths in one step: rename(2), RENAME_EXCHANGE. */
export function renameExchange(one: string, other: string): void {
  syscall("renameat2", other, AT_FDCWD, cstring(one), AT_FDCWD, cstring(other), 2);
}

/** Renames an entry of one open directory into another. */
export function renameAt(fromFd: number, from: Buffer, toFd: number, to: Buffer): void {
  checked(libc().renameat(fromFd, cstring(from), toFd, cstring(to)), "rename", from.toString());
}

/** Removes an entry of an open directory: a file, or with `directory` an empty directory. */
export function unlinkAt(directoryFd: number, name: string | Buffer, directory: boolean): void {
  const AT_REMOVEDIR = 0x200;
  checked(
    libc().unlinkat(directoryFd, cstring(name), directory ? AT_REMOVEDIR : 0),
    directory ? "rmdir" : "unlink",
    name.toString(),
  );
}

/** Takes the exclusive flock of an open file without waiting; false when somebody else has it: flock(2). */
export function tryLock(fd: number): boolean {
  const LOCK_EX_NB = 2 | 4;
  if (libc().flock(fd, LOCK_EX_NB) === 0) return true;
  try {
    checked(-1, "flock", `fd ${fd}`);
  } catch (thrown) {
    if ((thrown as MosaicError).details.errno === "EAGAIN") return false;
    throw thrown;
  }
  return false;
}

/** Writes everything of the filesystem that holds `fd` to its storage: syncfs(2). */
export function syncFilesystem(fd: number): void {
  checked(libc().syncfs(fd), "syncfs", `fd ${fd}`);
}

/** Calls ioctl(2) with a buffer or a number; gives its result, which is an errno's error when negative. */
export function ioctl(fd: number, request: number, argument: Buffer | number, subject: string): number {
  const value = typeof argument === "number" ? argument : ptr(argument);
  return checked(libc().ioctl(fd, request, value), "ioctl", subject);
}

/** Moves an open file to a descriptor of at least `minimum`, closed on exec; its old number then means what `instead` does. */
export function moveDescriptor(fd: number, minimum: number, instead: number): number {
  const F_DUPFD_CLOEXEC = 1030;
  const moved = checked(libc().fcntl(fd, F_DUPFD_CLOEXEC, minimum), "fcntl", `fd ${fd}`);
  checked(libc().dup2(instead, fd), "dup2", `fd ${instead}`);
  return moved;
}

/** Asks or tells the quotas of the filesystem that holds an open file: quotactl_fd(2). */
export function quotactlFd(fd: number, command: number, id: number, argument: Buffer): void {
  syscall("quotactl_fd", `fd ${fd}`, fd, command, id, argument);
}

/** Whether `fd` is a terminal. */
export function isTerminal(fd: number): boolean {
  return libc().isatty(fd) === 1;
}

/** The largest value of an attribute: xattr(7). */
const XATTR_SIZE_MAX = 65_536;
/** The kernel clears as much as it is offered, and most values are short. */
let xattrBuffer: Buffer | undefined;

/** An extended attribute of a path, links not followed, or of an open file; undefined when it has none: getxattr(2). */
export function getAttribute(target: string | number, name: string): Buffer | undefined {
  xattrBuffer ??= Buffer.alloc(4096);
  const file = typeof target === "number" ? target : cstring(target);
  let size = readAttribute(file, name, xattrBuffer);
  if (size < 0 && lastErrno() === ERANGE) {
    xattrBuffer = Buffer.alloc(XATTR_SIZE_MAX);
    size = readAttribute(file, name, xattrBuffer);
  }
  if (size < 0 && lastErrno() === ENODATA) return undefined;
  return Buffer.from(xattrBuffer.subarray(0, checked(size, "getxattr", String(target))));
}

function readAttribute(file: Buffer | number, name: string, value: Buffer): bigint | number {
  return typeof file === "number"
    ? libc().fgetxattr(file, cstring(name), value, value.length)
    : libc().lgetxattr(file, cstring(name), value, value.length);
}

/** The names of the extended attributes of an open file: listxattr(2). */
export function listAttributes(fd: number): string[] {
  const names = Buffer.alloc(XATTR_SIZE_MAX);
  const size = checked(libc().flistxattr(fd, names, names.length), "listxattr", `fd ${fd}`);
  return names.toString("utf8", 0, Number(size)).split("\0").slice(0, -1);
}

/** Sets an extended attribute of an open file; with `create` it fails with EEXIST where it is set: setxattr(2). */
export function setAttribute(fd: number, name: string, value: string | Buffer, create: boolean): void {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  checked(libc().fsetxattr(fd, cstring(name), bytes, bytes.length, create ? 1 : 0), "setxattr", name);
}

/** Removes an extended attribute of an open file. */
export function removeAttribute(fd: number, name: string): void {
  checked(libc().fremovexattr(fd, cstring(name)), "removexattr", name);
}

/** A detached copy of the mount at an open directory, which only its descriptor holds: open_tree(2). */
export function copyMount(directoryFd: number): number {
  const OPEN_TREE_CLONE_CLOEXEC = 1 | 0o2000000;
  return syscall(
    "open_tree",
    `fd ${directoryFd}`,
    directoryFd,
    cstring(""),
    OPEN_TREE_CLONE_CLOEXEC | AT_EMPTY_PATH,
  );
}

/** Makes a detached mount read-only: mount_setattr(2). */
export function makeReadOnly(mountFd: number): void {
  const MOUNT_ATTR_RDONLY = 1n;
  const attributes = Buffer.alloc(32);
  attributes.writeBigUInt64LE(MOUNT_ATTR_RDONLY, 0);
  syscall(
    "mount_setattr",
    `fd ${mountFd}`,
    mountFd,
    cstring(""),
    AT_EMPTY_PATH,
    attributes,
    attributes.length,
  );
}

/** Puts a detached mount onto an open directory: move_mount(2). */
export function placeMount(mountFd: number, directoryFd: number): void {
  const MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40;
  syscall(
    "move_mount",
    `fd ${directoryFd}`,
    mountFd,
    cstring(""),
    directoryFd,
    cstring(""),
    MOVE_MOUNT_EMPTY_PATHS,
  );
}

/** Opens a filesystem context for a type such as "ext4": fsopen(2). */
export function openFilesystem(type: string): number {
  return syscall("fsopen", type, cstring(type), 1);
}

/** Gives a filesystem context an option, a flag when it has no value: fsconfig(2). */
export function configureFilesystem(contextFd: number, key: string, value?: string): void {
  const SET_FLAG = 0;
  const SET_STRING = 1;
  if (value === undefined) syscall("fsconfig", key, contextFd, SET_FLAG, cstring(key), 0, 0);
  else syscall("fsconfig", `${key}=${value}`, contextFd, SET_STRING, cstring(key), cstring(value), 0);
}

/** Makes the filesystem of a context and gives a detached mount of it: fsconfig(2) CMD_CREATE, fsmount(2). */
export function mountDetached(
  contextFd: number,
  attributes: { readOnly: boolean; restricted: boolean },
): number {
  const CMD_CREATE = 6;
  const RDONLY = 1;
  const NOSUID_NODEV_NOEXEC = 2 | 4 | 8;
  syscall("fsconfig", "create", contextFd, CMD_CREATE, 0, 0, 0);
  const flags = (attributes.readOnly ? RDONLY : 0) | (attributes.restricted ? NOSUID_NODEV_NOEXEC : 0);
  return syscall("fsmount", "create", contextFd, 1, flags);
}

/** Gives the filesystem of an open mount point options for a remount; fails with EBUSY when it is frozen: fspick(2), fsconfig(2). */
export function remountFilesystem(fd: number, path: string, options: readonly string[]): void {
  const CLOEXEC_EMPTY_PATH = 1 | 8;
  const CMD_RECONFIGURE = 7;
  const contextFd = syscall("fspick", path, fd, cstring(""), CLOEXEC_EMPTY_PATH);
  try {
    for (const option of options) {
      const [key = "", ...value] = option.split("=");
      configureFilesystem(contextFd, key, value.length > 0 ? value.join("=") : undefined);
    }
    syscall("fsconfig", path, contextFd, CMD_RECONFIGURE, 0, 0, 0);
  } finally {
    closeSync(contextFd);
  }
}

/** Unmounts what lies on top at `path`; never follows a link there, never lazily: umount2(2). */
export function unmountPath(path: string): void {
  const UMOUNT_NOFOLLOW = 8;
  checked(libc().umount2(cstring(path), UMOUNT_NOFOLLOW), "umount", path);
}
