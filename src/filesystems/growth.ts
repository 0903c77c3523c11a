import { constants, openSync, statfsSync } from "node:fs";
import { calling } from "../system/errno.ts";
import { closeFd, syncMounted } from "../system/files.ts";
import type { Steps } from "../system/steps.ts";
import type { Filesystem } from "./filesystem.ts";

/** Grows a mounted filesystem to its device, durably; `keep` is called when it has grown, if only in part. Throws PERMISSION_DENIED. */
export async function growMounted(
  steps: Steps,
  filesystem: Filesystem,
  mountFd: number,
  sizeBytes: number,
  keep: () => void,
): Promise<void> {
  const grow = async (fd: number) => {
    await filesystem.grow(steps, fd, sizeBytes);
    // Before the record says so; and only now btrfs tells that it could not write what it has changed.
    await syncMounted(steps, fd);
  };
  if (steps.planning) return grow(mountFd);
  const root = `/proc/self/fd/${mountFd}/.`;
  // A mount's descriptor takes no ioctl, that of its root does.
  const rootFd = calling("open", root, () => openSync(root, constants.O_RDONLY | constants.O_DIRECTORY));
  const before = statfsSync(root).blocks;
  try {
    await grow(rootFd);
  } finally {
    if (statfsSync(root).blocks > before) keep();
    closeFd(rootFd);
  }
}
