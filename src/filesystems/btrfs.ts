import { statfsSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { formatSize } from "../base/size.ts";
import { queryTool, runTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import type { Filesystem } from "./filesystem.ts";
import { requireNoMore } from "./outcome.ts";
import { replayLog, whileMounted } from "./whilemounted.ts";

const MOUNT = "/proc/self/fd/3";
const RESIZE_DEADLINE_MS = 24 * 3600 * 1000;
const SECTOR_BYTES = 4096;

/** btrfs inside a volume: checksums, compression, snapshots of its own. */
export const btrfs: Filesystem = {
  name: "btrfs",
  minimumBytes: 128 * 1024 ** 2,
  // The kernel refuses less, also to grow and also what it has already: btrfs_ioctl_resize() in linux/fs/btrfs/ioctl.c.
  resizeMinimumBytes: 256 * 1024 ** 2,
  uuidOffset: 65_536 + 32,
  tools: ["mkfs.btrfs", "btrfs", "btrfstune"],
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.btrfs", ["-q", path], { fds: [lockFd] });
  },
  async grow(steps, rootFd, sizeBytes) {
    if (!steps.planning && sizeBytes - readSize(rootFd) < SECTOR_BYTES) return;
    await runTool(steps, "btrfs", ["filesystem", "resize", "max", MOUNT], { fds: [rootFd] });
  },
  async resizeCopy(steps, path, sizeBytes, lockFd) {
    await whileMounted(steps, "btrfs", path, [], async (mountFd) => {
      const options = {
        fds: [mountFd, lockFd],
        deadlineMs: RESIZE_DEADLINE_MS,
        translate: () => "TOOL_FAILED" as const,
      };
      const args = ["filesystem", "resize", String(sizeBytes), MOUNT];
      try {
        await runTool(steps, "btrfs", args, options);
      } catch (thrown) {
        throw await tooSmall(steps, mountFd, sizeBytes, thrown);
      }
    });
    if (!steps.planning)
      requireNoMore("btrfs", (await readSuperblock(steps, path))("total_bytes"), sizeBytes);
  },
  async readUse(steps, path) {
    const fields = await readSuperblock(steps, path);
    if (fields("log_root") !== 0) return undefined;
    return { sizeBytes: fields("total_bytes"), usedBytes: fields("bytes_used") };
  },
  async readSize(steps, path) {
    return (await readSuperblock(steps, path))("total_bytes");
  },
  async renewUuid(steps, path, lockFd) {
    // btrfstune exits with 0 on a filesystem with a log, and what it leaves cannot be mounted.
    if (!steps.planning && (await readSuperblock(steps, path))("log_root") !== 0)
      await replayLog(steps, "btrfs", path, []);
    // The metadata UUID is one block; -u would rewrite every one: btrfstune(8).
    await runTool(steps, "btrfstune", ["-m", path], { fds: [lockFd] });
  },
};

/** The size of a mounted filesystem. */
function readSize(rootFd: number): number {
  const { blocks, bsize } = statfsSync(`/proc/self/fd/${rootFd}`);
  return blocks * bsize;
}

/** The numbers of the superblock by their names. Throws TOOL_FAILED for one that is not there. */
async function readSuperblock(steps: Steps, path: string): Promise<(name: string) => number> {
  const { stdout } = await queryTool(steps, "btrfs", ["inspect-internal", "dump-super", path]);
  return (name) => {
    const value = new RegExp(`^${name}\\s+(\\d+)$`, "m").exec(stdout)?.[1];
    if (value !== undefined) return Number(value);
    const message = `cannot read ${name} in the answer of btrfs inspect-internal dump-super`;
    throw new MosaicError("TOOL_FAILED", message);
  };
}

/** btrfs does not say why, and what it estimates as the smallest size may still be too small. */
async function tooSmall(steps: Steps, mountFd: number, sizeBytes: number, thrown: unknown): Promise<unknown> {
  if (!(thrown instanceof MosaicError) || thrown.code !== "TOOL_FAILED") return thrown;
  const { stdout } = await queryTool(steps, "btrfs", ["inspect-internal", "min-dev-size", MOUNT], {
    fds: [mountFd],
  });
  const smallestBytes = Number(/^(\d+) bytes/.exec(stdout)?.[1]);
  const estimate = `btrfs estimates the smallest size as ${smallestBytes} bytes (${formatSize(smallestBytes)})`;
  const message = `what it holds did not fit into ${formatSize(sizeBytes)}: ${thrown.message}; ${estimate}`;
  return new MosaicError("TOOL_FAILED", message, { ...thrown.details, sizeBytes, smallestBytes }, thrown);
}
