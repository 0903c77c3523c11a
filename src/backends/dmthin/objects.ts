import { constants, readSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import { replaceFile } from "../../system/durablefile.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { closeFd, findStatus, listDirectory, openPath, setFileSize, syncPath } from "../../system/files.ts";
import type { Steps } from "../../system/steps.ts";

// A volume's object is a small file that says which thin device it is. It has one line, and more only where somebody
// tried how much room there is.

const VERSION = 1;
const OBJECT_MAX_BYTES = 4096;
/** The largest device id of a pool: 24 bits. */
export const ID_MAX = 2 ** 24 - 1;

/** Which thin device a volume is. */
export interface ThinObject {
  readonly id: number;
  /** The transaction id of the pool at which it was made: no device of somebody else has it. */
  readonly transaction: number;
}

/** The object in an open file; undefined when it is none. */
export function readObject(fd: number, path: string): ThinObject | undefined {
  const buffer = Buffer.alloc(OBJECT_MAX_BYTES);
  const length = calling("read", path, () => readSync(fd, buffer, 0, OBJECT_MAX_BYTES, 0));
  const [line = ""] = buffer.toString("utf8", 0, length).split("\n");
  try {
    const { version, id, transaction } = JSON.parse(line) as Record<string, unknown>;
    const isValid = version === VERSION && isBetween(id, 0, ID_MAX) && isBetween(transaction, 0);
    return isValid ? { id: id as number, transaction: transaction as number } : undefined;
  } catch {
    return undefined;
  }
}

/** The object at a path; undefined when nothing or something else is there. */
export function findObject(path: string): ThinObject | undefined {
  const fd = unlessErrno(["ENOENT", "ELOOP", "ENXIO"], () => openPath(path));
  if (fd === undefined) return undefined;
  try {
    return readObject(fd, path);
  } finally {
    closeFd(fd);
  }
}

/** The object in an open file. Throws DAMAGED when it is none. */
export function requireObject(fd: number, path: string): ThinObject {
  const object = readObject(fd, path);
  if (object) return object;
  const message = `${quote(path)} does not say which device of the pool it is, as that is gone, or the file is damaged: restore it from a backup, or drop the volume`;
  throw new MosaicError("DAMAGED", message, { path });
}

/** Writes an object durably, also over an older one. */
export function writeObject(steps: Steps, path: string, object: ThinObject): Promise<void> {
  return replaceFile(steps, path, `${JSON.stringify({ version: VERSION, ...object })}\n`);
}

/** Empties an object whose device is gone, so that no other device that has its id is ever taken for it; it keeps its record. */
export async function emptyObject(steps: Steps, path: string): Promise<void> {
  const fd = openPath(path, constants.O_WRONLY | constants.O_NOFOLLOW);
  try {
    await setFileSize(steps, path, fd, 0);
  } finally {
    closeFd(fd);
  }
  await syncPath(steps, path);
}

/** The objects below a directory with their paths. One that is just published may be missed, one that is just dropped may not. */
export function* listObjects(directory: string): Generator<ThinObject & { readonly path: string }> {
  // The operations come last, as a drop moves an object there.
  const entries = listDirectory(directory).sort(
    (one, other) => Number(one[0] === ".") - Number(other[0] === "."),
  );
  for (const entry of entries) {
    const path = `${directory}/${entry}`;
    const status = findStatus(path);
    if (status?.isDirectory()) yield* listObjects(path);
    const object = status?.isFile() ? findObject(path) : undefined;
    if (object) yield { ...object, path };
  }
}

function isBetween(value: unknown, least: number, most: number = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
}
