import { runTool } from "../system/runner.ts";
import type { Filesystem } from "./filesystem.ts";
import { hasFailed } from "./outcome.ts";
import { replayLog } from "./replay.ts";

/** btrfs inside a volume: checksums, compression, snapshots of its own. */
export const btrfs: Filesystem = {
  name: "btrfs",
  minimumBytes: 128 * 1024 ** 2,
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.btrfs", ["-q", path], { fds: [lockFd] });
  },
  async renewUuid(steps, path, lockFd) {
    // The metadata UUID is one block; -u would rewrite every one: btrfstune(8).
    const renew = () => runTool(steps, "btrfstune", ["-m", path], { fds: [lockFd] });
    if (!(await hasFailed(renew))) return;
    await replayLog(steps, "btrfs", path, []);
    await renew();
  },
};
