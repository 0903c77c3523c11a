import { accessSync, constants } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { calling, hasErrno } from "./errno.ts";
import { findStatus } from "./files.ts";
import { findTool, queryTool, runTool } from "./runner.ts";
import type { Steps } from "./steps.ts";

/** The filesystem type number that statfs(2) gives for btrfs. */
export const BTRFS_MAGIC = 0x9123683e;

/** A volume may have millions of files. */
const WALK_DEADLINE_MS = 24 * 3600 * 1000;

/** Whether `path` is the root of a btrfs subvolume, for a path on btrfs: its inode number is 256. */
export function isSubvolume(path: string): boolean {
  const status = findStatus(path);
  return status?.isDirectory() === true && status.ino === 256n;
}

/** Makes an empty subvolume where nothing is. It is durable only after a commit: btrfs-subvolume(8). */
export async function createSubvolume(steps: Steps, path: string, lockFd: number): Promise<void> {
  await runTool(steps, "btrfs", ["-q", "subvolume", "create", "--", path], { fds: [lockFd] });
}

/** Makes a writable snapshot where nothing is; an existing directory would get the snapshot inside it. */
export async function snapshotSubvolume(
  steps: Steps,
  from: string,
  to: string,
  lockFd: number,
): Promise<void> {
  await runTool(steps, "btrfs", ["-q", "subvolume", "snapshot", "--", from, to], { fds: [lockFd] });
  if (!steps.planning && !isSubvolume(to))
    throw new MosaicError("TOOL_FAILED", `btrfs made no snapshot at ${to}`);
}

/**
 * Destroys a subvolume without nested ones. It does not wait for the commit: with --commit-each, several at once wait
 * for the periodic one, up to 30 seconds. Make the subvolume's name go durably first.
 */
export async function deleteSubvolume(steps: Steps, path: string, lockFd: number): Promise<void> {
  await runTool(steps, "btrfs", ["-q", "subvolume", "delete", "--", path], { fds: [lockFd] });
  if (!steps.planning && findStatus(path)) {
    throw new MosaicError("TOOL_FAILED", `btrfs did not delete the subvolume ${path}`);
  }
}

/** Whether a subvolume on a writable mount is read-only: then nobody may write there, whatever his rights, access(2). */
export function isReadOnlySubvolume(path: string): boolean {
  try {
    calling("access", path, () => accessSync(path, constants.W_OK));
    return false;
  } catch (thrown) {
    if (hasErrno(thrown, "EROFS")) return true;
    throw thrown;
  }
}

/** Makes a subvolume read-only or writable; writable also where it was received. */
export async function setReadOnlySubvolume(steps: Steps, path: string, readOnly: boolean): Promise<void> {
  await runTool(steps, "btrfs", ["property", "set", "-f", "-t", "subvol", path, "ro", String(readOnly)]);
}

/** The absolute paths of the subvolumes directly inside the subvolume at `path`, sorted. */
export async function listNestedSubvolumes(steps: Steps, path: string): Promise<string[]> {
  const { stdout: shown } = await queryTool(steps, "btrfs", ["subvolume", "show", path]);
  const { stdout: listed } = await queryTool(steps, "btrfs", ["subvolume", "list", "-o", path]);
  const lines = listed.split("\n").filter((line) => line !== "");
  const nested = lines.map((line) => findListedPath(line, path, shown.split("\n")[0] ?? ""));
  const isWhole = nested.every((candidate) => candidate !== undefined && isSubvolume(candidate));
  return (isWhole ? (nested as string[]) : await searchNestedSubvolumes(steps, path)).sort();
}

/** The path in a line of `btrfs subvolume list -o`, which starts at the top of the filesystem; undefined on another shape. */
export function parseListedPath(line: string): string | undefined {
  return /^ID \d+ gen \d+ top level \d+ path (.+)$/.exec(line)?.[1];
}

/** The absolute path for a line about a subvolume inside the one at `path`, which btrfs calls `own`. */
function findListedPath(line: string, path: string, own: string): string | undefined {
  const listed = parseListedPath(line);
  const prefix = own === "/" || own === "<FS_TREE>" ? "" : `${own}/`;
  return listed?.startsWith(prefix) ? `${path}/${listed.slice(prefix.length)}` : undefined;
}

/** A name with a newline makes two lines of one: then the directories are searched, which takes longer. */
async function searchNestedSubvolumes(steps: Steps, path: string): Promise<string[]> {
  const isRoot = ["-type", "d", "-inum", "256"];
  const args = [path, "-xdev", "-mindepth", "1", ...isRoot, "-print0"];
  const { stdout } = await queryTool(steps, "find", args, { deadlineMs: WALK_DEADLINE_MS });
  return stdout.split("\0").filter((found) => found !== "");
}

/** Destroys the subvolumes inside the one at `path`, also those whose names are no text: find(1) hands on their bytes. */
export async function deleteNestedSubvolumes(steps: Steps, path: string, lockFd: number): Promise<void> {
  const roots = ["-mindepth", "1", "-type", "d", "-inum", "256", "-exec", findTool("btrfs")];
  const options = { fds: [lockFd], deadlineMs: WALK_DEADLINE_MS };
  const makeWritable = ["property", "set", "-f", "-t", "subvol", "{}", "ro", "false", ";"];
  await runTool(steps, "find", [path, ...roots, ...makeWritable], options);
  const destroy = ["-q", "subvolume", "delete", "--", "{}", ";"];
  await runTool(steps, "find", [path, "-depth", ...roots, ...destroy], options);
}

/**
 * What the files below a path take, in bytes: all of it, and what nothing else shares. It reads the map of every file:
 * btrfs-filesystem(8), du. Metadata and what compression saves are not in it.
 */
export async function measureUse(
  steps: Steps,
  path: string,
): Promise<{ allocatedBytes: number; exclusiveBytes: number }> {
  const { stdout } = await queryTool(steps, "btrfs", ["filesystem", "du", "--summarize", "--raw", path]);
  const numbers = /^\s*(\d+)\s+(\d+)\s/.exec(stdout.slice(stdout.indexOf("\n") + 1));
  if (!numbers)
    throw new MosaicError("TOOL_FAILED", "cannot read the answer of btrfs filesystem du", { stdout });
  return { allocatedBytes: Number(numbers[1]), exclusiveBytes: Number(numbers[2]) };
}
