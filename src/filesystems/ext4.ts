import { runTool } from "../system/runner.ts";
import type { Filesystem } from "./filesystem.ts";
import { hasFailed } from "./outcome.ts";

// Lazy tables are right for a sparse file: what was never written reads as zeros. The checksum seed keeps the checksums
// of all metadata valid when the UUID changes, so that a clone costs one block and not a rewrite: tune2fs(8).
const MAKE = ["-q", "-O", "metadata_csum,metadata_csum_seed", "-E", "lazy_itable_init=1,lazy_journal_init=1"];

/** ext4: grows and shrinks, the usual choice. */
export const ext4: Filesystem = {
  name: "ext4",
  minimumBytes: 8 * 1024 ** 2,
  tools: ["mkfs.ext4", "tune2fs", "e2fsck"],
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.ext4", [...MAKE, path], { fds: [lockFd] });
  },
  async renewUuid(steps, path, lockFd) {
    const renew = () => runTool(steps, "tune2fs", ["-U", "random", path], { fds: [lockFd] });
    if (!(await hasFailed(renew))) return;
    // A journal to replay, or checksums without a seed: both want a check first. Exit code 1 means "corrected".
    await runTool(steps, "e2fsck", ["-f", "-p", path], { fds: [lockFd], successCodes: [0, 1] });
    await renew();
  },
};
