import { constants, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { MosaicError } from "../base/errors.ts";
import { calling, unlessErrno } from "./errno.ts";
import { closeFd, openPath } from "./files.ts";
import { ioctl, syncFilesystem } from "./libc.ts";
import { runTool } from "./runner.ts";
import type { Steps } from "./steps.ts";

// Quotas of btrfs: each subvolume has a qgroup of its own with what it refers to and its limit. The kernel shows them in
// sysfs, which costs no tool and has no tables to read: the kernel's fs/btrfs/sysfs.c.

const BTRFS_IOC_FS_INFO = 0x8400941f;
const BTRFS_IOC_INO_LOOKUP = 0xd0009412;
const FIRST_FREE_OBJECTID = 256n;
const LIMITS_REFERENCED = 1;

/** How a filesystem keeps quotas: "qgroup" tells shared from exclusive, "simple" charges who wrote first. */
export type QuotaMode = "qgroup" | "simple";

/** The quotas of a filesystem. */
export interface QuotaState {
  /** Undefined when they are off. */
  readonly mode: QuotaMode | undefined;
  /** Whether the numbers are wrong until a rescan; limits are then not kept. */
  readonly isInconsistent: boolean;
}

/** The qgroup of a subvolume, in bytes. */
export interface Qgroup {
  readonly referencedBytes: number;
  readonly exclusiveBytes: number;
  readonly limitBytes: number | null;
}

/** The quotas of the filesystem that holds an open directory. */
export function readQuotaState(fd: number): QuotaState {
  const directory = findQgroups(fd);
  const read = (name: string) => readValue(`${directory}/${name}`);
  // Before Linux 6.1 the directory itself tells that they are on, before 6.7 there was one mode.
  const isOn = (read("enabled") ?? (read("inconsistent") === undefined ? "0" : "1")) === "1";
  const mode = read("mode") === "squota" ? "simple" : "qgroup";
  return { mode: isOn ? mode : undefined, isInconsistent: read("inconsistent") === "1" };
}

/** As `readQgroup`, with what was written until now: the numbers are those of the last commit, so there is one first. */
export function readQgroupNow(fd: number): Qgroup | undefined {
  syncFilesystem(fd);
  return readQgroup(fd);
}

/** The qgroup of an open subvolume as of the last commit; undefined when it has none. */
export function readQgroup(fd: number): Qgroup | undefined {
  const directory = `${findQgroups(fd)}/0_${findSubvolumeId(fd)}`;
  const read = (name: string) => Number(readValue(`${directory}/${name}`));
  const referencedBytes = read("referenced");
  if (Number.isNaN(referencedBytes)) return undefined;
  const isLimited = (read("limit_flags") & LIMITS_REFERENCED) !== 0;
  return {
    referencedBytes,
    exclusiveBytes: read("exclusive"),
    limitBytes: isLimited ? read("max_referenced") : null,
  };
}

/**
 * Limits what a subvolume refers to, or takes the limit away, and reads it back: btrfs-qgroup(8). The change is made
 * through the directory above: through the subvolume itself it fails with EDQUOT when that is full.
 */
export async function limitSubvolume(
  steps: Steps,
  path: string,
  limitBytes: number | null,
  lockFd?: number,
): Promise<void> {
  const limit = ["qgroup", "limit", String(limitBytes ?? "none")];
  if (steps.planning) return void (await runTool(steps, "btrfs", [...limit, path]));
  const fd = openPath(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const group = `0/${findSubvolumeId(fd)}`;
    await runTool(steps, "btrfs", [...limit, group, dirname(path)], {
      fds: lockFd === undefined ? [] : [lockFd],
    });
    const found = readQgroup(fd)?.limitBytes;
    if (found === limitBytes) return;
    const message = `the limit of ${path} is ${found ?? "none"} after it was made ${limitBytes ?? "none"}`;
    throw new MosaicError("TOOL_FAILED", message, { path, found: found ?? null, limitBytes });
  } finally {
    closeFd(fd);
  }
}

function findQgroups(fd: number): string {
  const info = Buffer.alloc(1024);
  ioctl(fd, BTRFS_IOC_FS_INFO, info, "btrfs");
  const id = info.toString("hex", 16, 32);
  const uuid = [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join("-");
  return `/sys/fs/btrfs/${uuid}/qgroups`;
}

/** The id of the subvolume that holds an open file: an inode of its own root, looked up from nowhere. */
function findSubvolumeId(fd: number): bigint {
  const lookup = Buffer.alloc(4096);
  lookup.writeBigUInt64LE(FIRST_FREE_OBJECTID, 8);
  ioctl(fd, BTRFS_IOC_INO_LOOKUP, lookup, "btrfs");
  return lookup.readBigUInt64LE(0);
}

function readValue(path: string): string | undefined {
  return unlessErrno(["ENOENT", "ENODEV"], () =>
    calling("read", path, () => readFileSync(path, "utf8")),
  )?.trim();
}
