import { MosaicError } from "../base/errors.ts";
import { queryTool, runTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import type { Filesystem } from "./filesystem.ts";
import { replayLog } from "./replay.ts";

/** btrfs inside a volume: checksums, compression, snapshots of its own. */
export const btrfs: Filesystem = {
  name: "btrfs",
  minimumBytes: 128 * 1024 ** 2,
  tools: ["mkfs.btrfs", "btrfs", "btrfstune"],
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.btrfs", ["-q", path], { fds: [lockFd] });
  },
  async renewUuid(steps, path, lockFd) {
    // btrfstune exits with 0 on a filesystem with a log, and what it leaves cannot be mounted.
    if (!steps.planning && (await hasLog(steps, path))) await replayLog(steps, "btrfs", path, []);
    // The metadata UUID is one block; -u would rewrite every one: btrfstune(8).
    await runTool(steps, "btrfstune", ["-m", path], { fds: [lockFd] });
  },
};

async function hasLog(steps: Steps, path: string): Promise<boolean> {
  const { stdout } = await queryTool(steps, "btrfs", ["inspect-internal", "dump-super", path]);
  const logRoot = /^log_root\s+(\d+)$/m.exec(stdout)?.[1];
  if (logRoot !== undefined) return logRoot !== "0";
  throw new MosaicError(
    "TOOL_FAILED",
    "cannot read log_root in the answer of btrfs inspect-internal dump-super",
  );
}
