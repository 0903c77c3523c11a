import { constants } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { hasErrno } from "./errno.ts";
import { closeFd, openPath } from "./files.ts";
import { ioctl, quotactlFd } from "./libc.ts";
import { type Steps, shellQuote } from "./steps.ts";

// Project quotas of ext4 and XFS by system calls: quotactl_fd(2), Linux 5.14, takes an open directory where setquota(8) and
// xfs_quota(8) look up a mount by its path, and is the same for both filesystems. The number of a project lies on its
// directory: FS_IOC_FSSETXATTR, linux/fs.h.

const PRJQUOTA = 2;
const command = (number: number) => (number << 8) | PRJQUOTA;
const Q_GETQUOTA = command(0x800007);
const Q_SETQUOTA = command(0x800008);
const Q_XGETQSTAT = command(0x5805);
const PROJECT_ACCOUNTED_AND_ENFORCED = (1 << 4) | (1 << 5);
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const XFLAG_PROJECT_INHERITED = 0x200;
/** The kernel counts limits in blocks of this size: quotactl(2). */
export const QUOTA_BLOCK_BYTES = 1024;
const VALID_BLOCK_LIMITS = 1;
/** Numbers below are for people: /etc/projid. */
const FIRST_NUMBER = 2 ** 24;
const LAST_NUMBER = 2 ** 32 - 2;
const ATTEMPTS = 100;

/** What a project may use and what it uses, in bytes. */
export interface ProjectUse {
  readonly limitBytes: number | null;
  readonly usedBytes: number;
  /** Files and directories; an empty directory of XFS takes no bytes. */
  readonly usedInodes: number;
}

/** Whether the filesystem that holds an open directory counts projects and keeps their limits. */
export function hasProjectQuota(fd: number): boolean {
  const state = Buffer.alloc(80);
  try {
    quotactlFd(fd, Q_XGETQSTAT, 0, state);
  } catch (thrown) {
    if (hasErrno(thrown, "EINVAL", "ENOSYS", "ESRCH", "EOPNOTSUPP", "ENOTSUP", "ENOTTY")) return false;
    throw thrown;
  }
  return (state.readUInt16LE(2) & PROJECT_ACCOUNTED_AND_ENFORCED) === PROJECT_ACCOUNTED_AND_ENFORCED;
}

/** The project that what is made in an open directory belongs to; undefined when there is none. */
export function readProject(fd: number): number | undefined {
  const { flags, project } = readFlags(fd);
  return (flags.readUInt32LE(0) & XFLAG_PROJECT_INHERITED) !== 0 && project !== 0 ? project : undefined;
}

/** Whether a project's number is one that mosaic chose. */
export function isOwnProject(project: number): boolean {
  return project >= FIRST_NUMBER;
}

/** What a project may use and uses. */
export function readProjectUse(fd: number, project: number): ProjectUse {
  const quota = readQuota(fd, project);
  const limitBlocks = Number(quota.readBigUInt64LE(0));
  return {
    limitBytes: limitBlocks === 0 ? null : limitBlocks * QUOTA_BLOCK_BYTES,
    usedBytes: Number(quota.readBigUInt64LE(16)),
    usedInodes: Number(quota.readBigUInt64LE(40)),
  };
}

/** A number that no project has: without a limit and without use. */
export function findFreeProject(fd: number): number {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const project = FIRST_NUMBER + Math.floor(Math.random() * (LAST_NUMBER - FIRST_NUMBER));
    const { limitBytes, usedInodes } = readProjectUse(fd, project);
    if (limitBytes === null && usedInodes === 0) return project;
  }
  throw new MosaicError("UNAVAILABLE", `no free number of a project in ${ATTEMPTS} attempts`);
}

/** Makes an empty directory, and all that will be made in it, belong to a project; 0 is none. */
export function setProject(steps: Steps, path: string, project: number): Promise<void> {
  const text = shellQuote(["chattr", "-p", String(project), project === 0 ? "-P" : "+P", path]);
  return steps.take<void>({ text, kind: "call" }, () => tagDirectory(path, project), undefined);
}

/** Limits what a project of the filesystem that holds `fd` uses, or takes the limit away, and reads it back. */
export function limitProject(
  steps: Steps,
  fd: number,
  project: number,
  limitBytes: number | null,
  location: string,
): Promise<void> {
  const blocks = (limitBytes ?? 0) / QUOTA_BLOCK_BYTES;
  const text = shellQuote(["setquota", "-P", String(project), "0", String(blocks), "0", "0", location]);
  return steps.take<void>({ text, kind: "call" }, () => writeLimit(fd, project, limitBytes), undefined);
}

function tagDirectory(path: string, project: number): void {
  const fd = openPath(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const { flags } = readFlags(fd);
    const inherited = project === 0 ? 0 : XFLAG_PROJECT_INHERITED;
    // Without a sign: XFS uses the highest bit for a flag of its own.
    flags.writeUInt32LE(((flags.readUInt32LE(0) & ~XFLAG_PROJECT_INHERITED) | inherited) >>> 0, 0);
    flags.writeUInt32LE(project, 12);
    ioctl(fd, FS_IOC_FSSETXATTR, flags, path);
    if ((readProject(fd) ?? 0) === project) return;
    throw new MosaicError(
      "TOOL_FAILED",
      `${path} does not belong to the project ${project} after it was set`,
      { path },
    );
  } finally {
    closeFd(fd);
  }
}

function readFlags(fd: number): { readonly flags: Buffer; readonly project: number } {
  const flags = Buffer.alloc(28);
  ioctl(fd, FS_IOC_FSGETXATTR, flags, `fd ${fd}`);
  return { flags, project: flags.readUInt32LE(12) };
}

/** Zeros for a project that the filesystem does not know yet. */
function readQuota(fd: number, project: number): Buffer {
  const quota = Buffer.alloc(72);
  try {
    quotactlFd(fd, Q_GETQUOTA, project, quota);
  } catch (thrown) {
    if (!hasErrno(thrown, "ENOENT", "ESRCH")) throw thrown;
  }
  return quota;
}

function writeLimit(fd: number, project: number, limitBytes: number | null): void {
  const quota = Buffer.alloc(72);
  quota.writeBigUInt64LE(BigInt((limitBytes ?? 0) / QUOTA_BLOCK_BYTES), 0);
  quota.writeUInt32LE(VALID_BLOCK_LIMITS, 64);
  quotactlFd(fd, Q_SETQUOTA, project, quota);
  const found = readProjectUse(fd, project).limitBytes;
  if (found === limitBytes) return;
  const message = `the limit of the project ${project} is ${found ?? "none"} after it was made ${limitBytes ?? "none"}`;
  throw new MosaicError("TOOL_FAILED", message, { project, found, limitBytes });
}
