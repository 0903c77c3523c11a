import { constants, openSync, readSync } from "node:fs";
import { type ErrorCode, MosaicError } from "../base/errors.ts";
import { calling, hasErrno } from "./errno.ts";
import { closeFd } from "./files.ts";
import {
  configureFilesystem,
  copyMount,
  makeReadOnly,
  mountDetached,
  openFilesystem,
  placeMount,
  remountFilesystem,
  unmountPath,
} from "./libc.ts";
import { type Mount, mountIdOf, pathFromHere } from "./mounts.ts";
import { type Steps, shellQuote } from "./steps.ts";

// Mounts are made detached, complete with their flags, and then put onto an open directory in one call. So a read-only
// mount was never writable, a target that is swapped meanwhile gets nothing, and a killed run leaves no mount.

/** What to mount of a block device. */
export interface DeviceMount {
  readonly filesystem: string;
  readonly device: string;
  /** Read-only for this mount. */
  readonly readOnly: boolean;
  /** Read-only for the whole filesystem; must be as it is for a filesystem that is mounted already. */
  readonly filesystemReadOnly: boolean;
  /** nosuid, nodev, noexec: for mounts that are only ours. */
  readonly restricted?: boolean;
  /** Options of the filesystem itself. */
  readonly flags?: readonly string[];
}

/** Mounts a device for nobody to see; the descriptor holds the mount. Throws with the kernel's own words. */
export function openDeviceMount(steps: Steps, mount: DeviceMount): Promise<number> {
  const options = [
    mount.readOnly ? "ro" : "rw",
    ...(mount.restricted ? ["nosuid,nodev,noexec"] : []),
    ...(mount.flags ?? []),
  ];
  const argv = ["mount", "-t", mount.filesystem, "-o", options.join(","), mount.device, "DETACHED"];
  return steps.take({ text: shellQuote(argv), kind: "call" }, () => createDeviceMount(mount), -1);
}

/** A detached bind mount of an open directory, without what is mounted below it. */
export function openBindMount(
  steps: Steps,
  path: string,
  directoryFd: number,
  readOnly: boolean,
): Promise<number> {
  const argv = ["mount", "--bind", "-o", readOnly ? "ro" : "rw", path, "DETACHED"];
  const action = () => {
    const mountFd = copyMount(directoryFd);
    try {
      if (readOnly) makeReadOnly(mountFd);
      return mountFd;
    } catch (thrown) {
      closeFd(mountFd);
      throw thrown;
    }
  };
  return steps.take({ text: shellQuote(argv), kind: "call" }, action, -1);
}

/** Puts a detached mount onto an open directory. */
export function attachMount(steps: Steps, mountFd: number, directoryFd: number, path: string): Promise<void> {
  const text = shellQuote(["mount", "--move", "DETACHED", path]);
  return steps.take<void>({ text, kind: "call" }, () => placeMount(mountFd, directoryFd), undefined);
}

/** Unmounts what is on top at `path`. Throws BUSY. */
export function detachMount(steps: Steps, path: string): Promise<void> {
  return steps.take<void>(
    { text: shellQuote(["umount", path]), kind: "call" },
    () => unmountPath(path),
    undefined,
  );
}

const O_PATH = 0o10000000;

/** What ext4, XFS and btrfs show of a mount for which no option was said; saying these again changes nothing. */
const USUAL_OPTION =
  /^(rw|inode64|logbufs=\d+|logbsize=\w+|noquota|ssd|discard=async|space_cache=v\d|subvolid=\d+|subvol=.*)$/;

/**
 * Whether the filesystem of a mount is frozen; undefined when that cannot be found out without a change. The kernel tells
 * nobody, but it refuses to remount a frozen one before anything else, and a remount with the usual options of a
 * filesystem that has these changes nothing.
 */
export function isFrozen(mount: Mount): boolean | undefined {
  if (!mount.superOptions.every((option) => USUAL_OPTION.test(option))) return undefined;
  const options = mount.superOptions.filter((option) => option !== "rw");
  const path = pathFromHere(mount);
  let fd: number | undefined;
  try {
    fd = calling("open", path, () => openSync(path, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW));
    // Something else may be mounted over it, which the remount would change.
    if (mountIdOf(fd) !== mount.id) return undefined;
    remountFilesystem(fd, path, options);
    return false;
  } catch (thrown) {
    if (hasErrno(thrown, "EBUSY")) return true;
    if (hasErrno(thrown, "ENOENT", "ENOTDIR", "EINVAL", "EROFS", "EACCES")) return undefined;
    throw thrown;
  } finally {
    if (fd !== undefined) closeFd(fd);
  }
}

function createDeviceMount(mount: DeviceMount): number {
  const contextFd = openContext(mount);
  try {
    configureFilesystem(contextFd, "source", mount.device);
    if (mount.filesystemReadOnly) configureFilesystem(contextFd, "ro");
    for (const flag of mount.flags ?? []) configureFilesystem(contextFd, flag);
    return mountDetached(contextFd, { readOnly: mount.readOnly, restricted: mount.restricted ?? false });
  } catch (thrown) {
    throw explainMountFailure(mount, readKernelMessages(contextFd), thrown);
  } finally {
    closeFd(contextFd);
  }
}

function openContext(mount: DeviceMount): number {
  try {
    return openFilesystem(mount.filesystem);
  } catch (thrown) {
    throw explainMountFailure(mount, "", thrown);
  }
}

function explainMountFailure(mount: DeviceMount, messages: string, thrown: unknown): unknown {
  if (!(thrown instanceof MosaicError)) return thrown;
  const errno = String(thrown.details.errno);
  const words =
    messages || (errno === "EINVAL" ? "it holds no such filesystem, or a damaged one" : thrown.message);
  const advice = hasErrno(thrown, "EROFS") ? "; its journal must be replayed: mount it once writable" : "";
  const unknown = hasErrno(thrown, "ENODEV")
    ? `this kernel has no ${mount.filesystem} (modprobe ${mount.filesystem})`
    : words;
  const message = `the kernel did not mount ${mount.device} as ${mount.filesystem} (${errno}): ${unknown}${advice}`;
  return new MosaicError(
    codeOfMountFailure(thrown),
    message,
    { ...thrown.details, device: mount.device },
    thrown,
  );
}

function codeOfMountFailure(thrown: MosaicError): ErrorCode {
  if (hasErrno(thrown, "EINVAL", "EUCLEAN", "EFSBADCRC", "EBADMSG")) return "DAMAGED";
  if (hasErrno(thrown, "ENODEV")) return "UNAVAILABLE";
  // A journal that must be replayed first: trying again would not help.
  if (hasErrno(thrown, "EROFS")) return "TOOL_FAILED";
  return thrown.code;
}

/** A filesystem context answers reads with one message each, such as "e ext4: bad geometry", until ENODATA: fsopen(2). */
function readKernelMessages(contextFd: number): string {
  const messages: string[] = [];
  const buffer = Buffer.alloc(4096);
  try {
    for (;;) messages.push(buffer.toString("utf8", 2, readSync(contextFd, buffer)).trim());
  } catch {
    return messages.slice(-3).join("; ");
  }
}
