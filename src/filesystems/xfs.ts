import { MosaicError } from "../base/errors.ts";
import { readUuid } from "../system/blkid.ts";
import { ioctl } from "../system/libc.ts";
import { readXfsGeometry } from "../system/reflink.ts";
import { queryTool, runTool } from "../system/runner.ts";
import type { Filesystem } from "./filesystem.ts";
import { hasFailed } from "./outcome.ts";
import { replayLog } from "./whilemounted.ts";

const XFS_IOC_FSGROWFSDATA = 0x4010586e;
const UUID_OFFSET = 32;

/** XFS: for large files and many writers; grows, never shrinks. */
export const xfs: Filesystem = {
  name: "xfs",
  minimumBytes: 300 * 1024 ** 2,
  uuidOffset: UUID_OFFSET,
  tools: ["mkfs.xfs", "xfs_admin", "xfs_db", "xfs_logprint"],
  async make(steps, path, lockFd) {
    await runTool(steps, "mkfs.xfs", ["-q", path], { fds: [lockFd] });
  },
  async grow(steps, rootFd, sizeBytes) {
    const step = { text: `ioctl XFS_IOC_FSGROWFSDATA ${sizeBytes}`, kind: "call" } as const;
    await steps.take<void>(step, () => growMounted(rootFd, sizeBytes), undefined);
  },
  async readUse(steps, path) {
    // The counters in the superblock are right only after a clean end.
    const log = await queryTool(steps, "xfs_logprint", ["-t", path]);
    if (!/state: <CLEAN>/.test(log.stdout)) return undefined;
    const fields = ["-c", "sb 0", "-c", "print dblocks logblocks fdblocks blocksize"];
    const { stdout } = await queryTool(steps, "xfs_db", ["-r", ...fields, path]);
    const number = (name: string) => Number(new RegExp(`^${name} = (\\d+)$`, "m").exec(stdout)?.[1]);
    // As statfs(2) counts: without the log.
    const blocks = number("dblocks") - number("logblocks");
    const [free, blockBytes] = [number("fdblocks"), number("blocksize")];
    if (Number.isNaN(blocks + free + blockBytes))
      throw new MosaicError("TOOL_FAILED", "cannot read the answer of xfs_db", { stdout });
    return { sizeBytes: blocks * blockBytes, usedBytes: (blocks - free) * blockBytes };
  },
  async readSize(steps, path) {
    const fields = ["-c", "sb 0", "-c", "print dblocks blocksize"];
    const { stdout } = await queryTool(steps, "xfs_db", ["-r", ...fields, path]);
    const number = (name: string) => Number(new RegExp(`^${name} = (\\d+)$`, "m").exec(stdout)?.[1]);
    return number("dblocks") * number("blocksize");
  },
  async renewUuid(steps, path, lockFd) {
    const before = steps.planning ? "" : readUuid(path, UUID_OFFSET);
    const renew = () => runTool(steps, "xfs_admin", ["-U", "generate", path], { fds: [lockFd] });
    // xfs_admin exits with 0 on a log that must be replayed, and changes nothing: only the UUID tells.
    const failed = await hasFailed(renew);
    if (steps.planning || (!failed && readUuid(path, UUID_OFFSET) !== before)) return;
    await replayLog(steps, "xfs", path, ["nouuid"]);
    await renew();
  },
};

/** struct xfs_growfs_data: the new number of blocks, and the share of inodes, which stays. */
function growMounted(rootFd: number, sizeBytes: number): void {
  const { blockBytes, inodeMaxPercent } = readXfsGeometry(rootFd);
  const growth = Buffer.alloc(16);
  growth.writeBigUInt64LE(BigInt(Math.floor(sizeBytes / blockBytes)), 0);
  growth.writeUInt32LE(inodeMaxPercent, 8);
  ioctl(rootFd, XFS_IOC_FSGROWFSDATA, growth, "xfs");
}
