import { constants, openSync, statfsSync } from "node:fs";
import { calling, unlessErrno } from "../system/errno.ts";
import { closeFd } from "../system/files.ts";
import { type Mount, mountIdOf, pathFromHere } from "../system/mounts.ts";
import type { FilesystemUse } from "./filesystem.ts";

/** What is used of a mounted filesystem, by the first of its mounts that can be reached: something else may be mounted over it. */
export function readMounted(mounts: readonly Mount[]): FilesystemUse | null {
  for (const mount of mounts) {
    const use = unlessErrno(["ENOENT", "ENOTDIR", "EACCES"], () => readMount(mount));
    if (use) return use;
  }
  return null;
}

function readMount(mount: Mount): FilesystemUse | undefined {
  const O_PATH = 0o10000000;
  const place = pathFromHere(mount);
  const fd = calling("open", place, () => openSync(place, O_PATH | constants.O_NOFOLLOW));
  try {
    if (mountIdOf(fd) !== mount.id) return undefined;
    const { bsize, blocks, bfree } = calling("statfs", place, () => statfsSync(`/proc/self/fd/${fd}`));
    return { sizeBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize };
  } finally {
    closeFd(fd);
  }
}
