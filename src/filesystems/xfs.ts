import { probeFilesystem } from "../system/blkid.ts";
import { runTool } from "../system/runner.ts";
import type { Filesystem } from "./filesystem.ts";
import { hasFailed } from "./outcome.ts";
import { replayLog } from "./replay.ts";

/** XFS: for large files and many writers; grows, never shrinks. */
export const xfs: Filesystem = {
  name: "xfs",
  minimumBytes: 300 * 1024 ** 2,
  tools: ["mkfs.xfs", "xfs_admin"],
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.xfs", ["-q", path], { fds: [lockFd] });
  },
  async renewUuid(steps, path, lockFd) {
    const before = steps.planning ? undefined : await probeFilesystem(steps, path);
    const renew = () => runTool(steps, "xfs_admin", ["-U", "generate", path], { fds: [lockFd] });
    // xfs_admin exits with 0 on a log that must be replayed, and changes nothing: only the UUID tells.
    const failed = await hasFailed(renew);
    if (steps.planning || (!failed && (await probeFilesystem(steps, path))?.uuid !== before?.uuid)) return;
    await replayLog(steps, "xfs", path, ["nouuid"]);
    await renew();
  },
};
