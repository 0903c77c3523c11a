import { MosaicError } from "../base/errors.ts";
import { probeFilesystem, readUuid } from "../system/blkid.ts";
import type { Steps } from "../system/steps.ts";
import { btrfs } from "./btrfs.ts";
import { ext4 } from "./ext4.ts";
import type { Filesystem } from "./filesystem.ts";
import { xfs } from "./xfs.ts";

const FILESYSTEMS = { ext4, xfs, btrfs } as const;

/** The name of a filesystem that mosaic knows. */
export type FilesystemName = keyof typeof FILESYSTEMS;

/** The names of all of them, the usual one first. */
export const FILESYSTEM_NAMES = Object.keys(FILESYSTEMS) as FilesystemName[];

/** Whether mosaic knows a filesystem of this name. */
export function isFilesystemName(name: string): name is FilesystemName {
  return Object.hasOwn(FILESYSTEMS, name);
}

/** The filesystem of this name. */
export function filesystemOf(name: FilesystemName): Filesystem {
  return FILESYSTEMS[name];
}

/** Gives a copied image its own UUID and reads it back. Throws DAMAGED when what is inside is not `name` or it kept its UUID. */
export async function makeDistinct(
  steps: Steps,
  name: FilesystemName,
  path: string,
  lockFd: number,
): Promise<void> {
  // In a plan there is no copy to look at.
  if (steps.planning) return FILESYSTEMS[name].renewUuid(steps, path, lockFd);
  const before = await probeFilesystem(steps, path);
  if (before?.type !== name) {
    throw new MosaicError(
      "DAMAGED",
      `its record says ${name}, but it holds ${before?.type ?? "no filesystem"}`,
      { recorded: name, found: before?.type ?? null },
    );
  }
  const { uuidOffset, renewUuid } = FILESYSTEMS[name];
  const old = readUuid(path, uuidOffset);
  await renewUuid(steps, path, lockFd);
  if (readUuid(path, uuidOffset) !== old) return;
  throw new MosaicError("DAMAGED", `the copy kept the UUID ${old}: check the origin's ${name} filesystem`, {
    uuid: old,
  });
}
