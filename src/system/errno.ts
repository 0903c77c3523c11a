import { constants } from "node:os";
import { type ErrorCode, MosaicError, quote } from "../base/errors.ts";

/** What node:os does not name. */
const MORE_NAMES = { EUCLEAN: 117 };
// EAGAIN and EWOULDBLOCK are one number: the first name counts.
const NAMES = new Map(
  Object.entries({ ...constants.errno, ...MORE_NAMES })
    .reverse()
    .map(([name, number]) => [number as number, name]),
);

/** What an errno means to the caller of mosaic; what is not listed is TOOL_FAILED. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "NO_SPACE",
  EDQUOT: "NO_SPACE",
  EPERM: "PERMISSION_DENIED",
  EACCES: "PERMISSION_DENIED",
  EBUSY: "BUSY",
  EIO: "DAMAGED",
  EUCLEAN: "DAMAGED",
  ENOSYS: "UNAVAILABLE",
  EROFS: "UNAVAILABLE",
  EFBIG: "INVALID_ARGUMENT",
};

const WORDS: Readonly<Record<string, string>> = {
  ENOSPC: "no space left on the device",
  EDQUOT: "the disk quota is used up: raise it, or remove what is not needed",
  EPERM: "the operation is not permitted",
  EACCES: "permission denied",
  EBUSY: "the device or file is busy",
  EIO: "input/output error",
  ENOENT: "there is no such file or directory",
  EEXIST: "it exists",
  ENOTDIR: "it is not a directory",
  EROFS: "the filesystem is read-only",
  ELOOP: "there is a symbolic link in the way",
  EXDEV: "another filesystem or mount is in the way",
  EUCLEAN: "the filesystem is corrupted",
  EFBIG: "the file would be larger than its filesystem can hold",
  ENOSYS: "this kernel lacks the system call",
};

/** The error for a system call that failed with `errno`, a name such as "ENOSPC". */
export function systemError(call: string, subject: string, errno: string, cause?: unknown): MosaicError {
  const words = WORDS[errno] ? `${WORDS[errno]} (${errno})` : errno;
  const message = `${call} ${quote(subject)}: ${words}`;
  return new MosaicError(CODES[errno] ?? "TOOL_FAILED", message, { call, subject, errno }, cause);
}

/** What a filesystem without extended attributes answers: xattr(7). */
export const NO_ATTRIBUTES = ["ENOTSUP", "EOPNOTSUPP"] as const;

/** The name of an errno number, "errno 999" when it has none. */
export function errnoName(number: number): string {
  return NAMES.get(number) ?? `errno ${number}`;
}

/** Whether `thrown` is a failed system call with one of these errno names. */
export function hasErrno(thrown: unknown, ...names: string[]): boolean {
  return thrown instanceof MosaicError && names.includes(String(thrown.details.errno));
}

/** The result of a node:fs call; its failure becomes a MosaicError like that of our own system calls. */
export function calling<T>(call: string, subject: string, action: () => T): T {
  try {
    return action();
  } catch (thrown) {
    const errno = (thrown as { code?: unknown }).code;
    if (thrown instanceof MosaicError || typeof errno !== "string") throw thrown;
    if (errno === "ERR_INVALID_ARG_VALUE")
      throw new MosaicError(
        "INVALID_ARGUMENT",
        `${quote(subject)} is no path: it has a NUL byte`,
        {},
        thrown,
      );
    throw systemError(call, subject, errno, thrown);
  }
}

/** The value of `action`, or undefined when it fails with one of these errno names. */
export function unlessErrno<T>(names: readonly string[], action: () => T): T | undefined {
  try {
    return action();
  } catch (thrown) {
    if (hasErrno(thrown, ...names)) return undefined;
    throw thrown;
  }
}
