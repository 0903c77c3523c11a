import { constants } from "node:fs";
import { dirname } from "node:path";
import { MosaicError, quote } from "../base/errors.ts";
import type { StoredName } from "../base/names.ts";
import { BTRFS_MAGIC, isSubvolume } from "../system/btrfs.ts";
import { hasErrno, NO_ATTRIBUTES, unlessErrno } from "../system/errno.ts";
import {
  closeFd,
  findStatus,
  listDirectory,
  makeDirectory,
  removeEmptyDirectory,
  renamePath,
  syncPath,
  writeAttribute,
} from "../system/files.ts";
import { getAttribute, openBeneath } from "../system/libc.ts";
import type { Steps } from "../system/steps.ts";
import type { Location } from "./location.ts";
import { RECORD_ATTRIBUTE } from "./record.ts";

/** Marks a directory that holds volumes: "made" by mosaic, or "found" there; only what was made is ever removed. */
export const PARENT_ATTRIBUTE = "trusted.mosaic.parent";

/**
 * Makes the directories above a stored name, each built in `stagingPath` and published with its mark. Throws
 * ALREADY_EXISTS where a volume, file or link is in the way, UNSUPPORTED where a mount or subvolume is.
 */
export async function makeParents(
  steps: Steps,
  location: Location,
  name: StoredName,
  stagingPath: string,
): Promise<void> {
  // Somebody else may make or remove one between two of our steps: then all are looked at again.
  while (!(await makeAll(steps, location, listParents(name), stagingPath))) await Bun.sleep(1);
}

async function makeAll(
  steps: Steps,
  location: Location,
  parents: string[],
  stagingPath: string,
): Promise<boolean> {
  for (const parent of parents) {
    if (!(await makeParent(steps, location, parent, stagingPath))) return false;
  }
  return true;
}

/** Removes the directories above a stored name that mosaic made and that are empty without it. */
export async function pruneParents(steps: Steps, location: Location, name: StoredName): Promise<void> {
  for (const parent of listParents(name).reverse()) {
    const path = `${location.path}/${parent}`;
    // A killed run may have removed the deeper ones.
    if (!findStatus(path)) continue;
    // A plan has not moved the volume away, so there the last entry is the volume.
    const entriesLeft = listDirectory(path).length - (steps.planning ? 1 : 0);
    if (entriesLeft > 0 || readMark(path) !== "made" || isSubvolumeOf(location, path)) return;
    if (!(await removeEmptyDirectory(steps, path))) return;
  }
}

/** Whether a directory holds volumes. */
export function isParent(path: string): boolean {
  return readMark(path) !== undefined;
}

/** Whether a directory was made by mosaic to hold volumes. */
export function isMadeParent(path: string): boolean {
  return readMark(path) === "made";
}

/** Whether a volume of this name is looked for: each directory above it is there and marked. */
export function hasParents(location: Location, name: StoredName): boolean {
  return listParents(name).every((parent) => isParent(`${location.path}/${parent}`));
}

/** "a" and "a/b" for "a/b/c". */
function listParents(name: StoredName): string[] {
  const components = name.split("/");
  return components.slice(1).map((_, index) => components.slice(0, index + 1).join("/"));
}

/** True when the directory is there and marked; false when it has to be looked at again. */
async function makeParent(
  steps: Steps,
  location: Location,
  parent: string,
  stagingPath: string,
): Promise<boolean> {
  const path = `${location.path}/${parent}`;
  const state = findParentState(location, parent);
  if (state === "marked") return true;
  if (state === "unmarked") {
    await writeAttribute(steps, path, PARENT_ATTRIBUTE, "found");
    return true;
  }
  const staged = `${stagingPath}/parent`;
  await makeDirectory(steps, staged, 0o700);
  try {
    await writeAttribute(steps, staged, PARENT_ATTRIBUTE, "made");
    await renamePath(steps, staged, path);
    await syncPath(steps, dirname(path));
    return true;
  } catch (thrown) {
    await removeEmptyDirectory(steps, staged);
    if (hasErrno(thrown, "EEXIST", "ENOENT")) return false;
    throw thrown;
  }
}

function findParentState(location: Location, parent: string): "absent" | "marked" | "unmarked" {
  const path = `${location.path}/${parent}`;
  const fd = openParent(location, parent);
  if (fd === undefined) return "absent";
  try {
    if (getAttribute(fd, RECORD_ATTRIBUTE))
      throw taken(parent, "it is a volume, and no volume lies inside another");
    if (isSubvolumeOf(location, path)) throw refused(parent, "it is a btrfs subvolume");
    return getAttribute(fd, PARENT_ATTRIBUTE) ? "marked" : "unmarked";
  } finally {
    closeFd(fd);
  }
}

function openParent(location: Location, parent: string): number | undefined {
  try {
    return unlessErrno(["ENOENT"], () =>
      openBeneath(location.fd, parent, constants.O_RDONLY | constants.O_DIRECTORY),
    );
  } catch (thrown) {
    if (hasErrno(thrown, "ENOTDIR", "ELOOP"))
      throw taken(parent, "it is not a directory, and no volume lies inside another");
    if (hasErrno(thrown, "EXDEV")) throw refused(parent, "another filesystem is mounted there");
    throw thrown;
  }
}

function taken(parent: string, why: string): MosaicError {
  return new MosaicError("ALREADY_EXISTS", `nothing can lie below ${quote(parent)}: ${why}`, { parent });
}

function refused(parent: string, why: string): MosaicError {
  return new MosaicError("UNSUPPORTED", `nothing can lie below ${quote(parent)}: ${why}`, { parent });
}

function isSubvolumeOf(location: Location, path: string): boolean {
  return location.filesystemMagic === BTRFS_MAGIC && isSubvolume(path);
}

function readMark(path: string): string | undefined {
  return unlessErrno(["ENOENT", "ENOTDIR", ...NO_ATTRIBUTES], () =>
    getAttribute(path, PARENT_ATTRIBUTE),
  )?.toString();
}
