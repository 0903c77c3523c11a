import { statfsSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { formatSize } from "../base/size.ts";
import { ioctl } from "../system/libc.ts";
import { queryTool, runTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import type { Filesystem } from "./filesystem.ts";
import { hasFailed, requireNoMore } from "./outcome.ts";
import { replayLog } from "./whilemounted.ts";

// Lazy tables are right for a sparse file: what was never written reads as zeros. The checksum seed keeps the checksums
// of all metadata valid when the UUID changes, so that a clone costs one block and not a rewrite: tune2fs(8).
const MAKE = ["-q", "-O", "metadata_csum,metadata_csum_seed", "-E", "lazy_itable_init=1,lazy_journal_init=1"];
const EXT4_IOC_RESIZE_FS = 0x40086610;
const RESIZE_DEADLINE_MS = 24 * 3600 * 1000;

/** ext4: grows and shrinks, the usual choice. */
export const ext4: Filesystem = {
  name: "ext4",
  minimumBytes: 8 * 1024 ** 2,
  uuidOffset: 1024 + 0x68,
  tools: ["mkfs.ext4", "tune2fs", "e2fsck", "resize2fs", "dumpe2fs"],
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.ext4", [...MAKE, path], { fds: [lockFd] });
  },
  async grow(steps, rootFd, sizeBytes) {
    const step = { text: `ioctl EXT4_IOC_RESIZE_FS ${sizeBytes}`, kind: "call" } as const;
    await steps.take<void>(step, () => growMounted(rootFd, sizeBytes), undefined);
  },
  async resizeCopy(steps, path, sizeBytes, lockFd) {
    await checkCopy(steps, path, lockFd);
    const options = { fds: [lockFd], deadlineMs: RESIZE_DEADLINE_MS };
    try {
      await runTool(steps, "resize2fs", [path, `${sizeBytes / 1024}K`], options);
    } catch (thrown) {
      throw await tooSmall(steps, path, sizeBytes, thrown);
    }
    if (steps.planning) return replayLog(steps, "ext4", path, []);
    const { blocks, blockBytes } = await readCounts(steps, path);
    requireNoMore("ext4", blocks * blockBytes, sizeBytes);
    // The kernel's word on it, and only a mount writes the overhead anew, without which nobody can tell what is used.
    await replayLog(steps, "ext4", path, []);
  },
  async readUse(steps, path) {
    const { blocks, free, overhead, blockBytes, isClean } = await readCounts(steps, path);
    if (!isClean) return undefined;
    // As statfs(2) counts: without the tables of the filesystem itself.
    return {
      sizeBytes: (blocks - overhead) * blockBytes,
      usedBytes: (blocks - overhead - free) * blockBytes,
    };
  },
  async readSize(steps, path) {
    const { blocks, blockBytes } = await readCounts(steps, path);
    return blocks * blockBytes;
  },
  async renewUuid(steps, path, lockFd) {
    const renew = () => runTool(steps, "tune2fs", ["-U", "random", path], { fds: [lockFd] });
    if (!(await hasFailed(renew))) return;
    // A journal to replay, or checksums without a seed: both want a check first.
    await checkCopy(steps, path, lockFd);
    await renew();
  },
};

function growMounted(rootFd: number, sizeBytes: number): void {
  const blocks = Buffer.alloc(8);
  blocks.writeBigUInt64LE(BigInt(Math.floor(sizeBytes / statfsSync(`/proc/self/fd/${rootFd}`).bsize)));
  ioctl(rootFd, EXT4_IOC_RESIZE_FS, blocks, "ext4");
}

/** Exit code 1 means "corrected": e2fsck(8). */
async function checkCopy(steps: Steps, path: string, lockFd: number): Promise<void> {
  const options = { fds: [lockFd], successCodes: [0, 1], deadlineMs: RESIZE_DEADLINE_MS };
  await runTool(steps, "e2fsck", ["-f", "-p", path], options);
}

async function tooSmall(steps: Steps, path: string, sizeBytes: number, thrown: unknown): Promise<unknown> {
  if (!(thrown instanceof MosaicError) || thrown.code !== "TOOL_FAILED") return thrown;
  const { stdout } = await queryTool(steps, "resize2fs", ["-P", path]);
  const { blockBytes } = await readCounts(steps, path);
  const smallestBytes = Number(/: (\d+)\s*$/.exec(stdout)?.[1]) * blockBytes;
  const estimate = `the smallest size is about ${smallestBytes} bytes (${formatSize(smallestBytes)})`;
  const message = `what it holds did not fit into ${formatSize(sizeBytes)}: ${thrown.message}; ${estimate}`;
  return new MosaicError("TOOL_FAILED", message, { ...thrown.details, sizeBytes, smallestBytes }, thrown);
}

/** The counts in the superblock, in blocks. The overhead is not there until a mount after a resize. */
async function readCounts(steps: Steps, path: string) {
  const { stdout } = await queryTool(steps, "dumpe2fs", ["-h", path]);
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(stdout)?.[1];
  const counts = {
    blocks: Number(field("Block count")),
    free: Number(field("Free blocks")),
    overhead: Number(field("Overhead clusters") ?? 0),
    blockBytes: Number(field("Block size")),
    // One without a journal says it only by its state.
    isClean:
      field("Filesystem state") === "clean" &&
      !field("Filesystem features")?.split(" ").includes("needs_recovery"),
  };
  if (!Number.isNaN(counts.blocks + counts.free + counts.overhead + counts.blockBytes)) return counts;
  throw new MosaicError("TOOL_FAILED", "cannot read the answer of dumpe2fs", {
    stdout: stdout.slice(0, 2000),
  });
}
