import { type ErrorCode, MosaicError } from "../base/errors.ts";
import { runTool } from "./runner.ts";
import type { Steps } from "./steps.ts";

// Changes of device-mapper, by dmsetup(8) in a process of its own: a message that waits for a device that does not answer
// can be left alone, a system call of ours could not.

/** The longest time that device-mapper may take for one change: more than the 60 seconds for which a full pool waits. */
const DEADLINE_MS = 90_000;
/** What else would wait until udev says that it has seen the change: nothing of it is needed, and a dead one never says so. */
const TELLING_UDEV: readonly string[] = ["create", "remove", "resume"];

/** What the kernel said, from the words of dmsetup after "failed: ". */
const ERRNO_WORDS: Readonly<Record<string, string>> = {
  "File exists": "EEXIST",
  "No data available": "ENODATA",
  "No such device or address": "ENXIO",
  "Device or resource busy": "EBUSY",
  "Invalid argument": "EINVAL",
  "No space left on device": "ENOSPC",
  "Input/output error": "EIO",
  "Operation not supported": "EOPNOTSUPP",
};
const CODES: Readonly<Record<string, ErrorCode>> = { EBUSY: "BUSY", ENOSPC: "NO_SPACE", EIO: "DAMAGED" };

/** Runs dmsetup; what is thrown has details.errno, so that `hasErrno` tells. A child that gets `fds` keeps their locks. */
export async function runDmsetup(
  steps: Steps,
  args: readonly string[],
  fds: readonly number[] = [],
): Promise<void> {
  try {
    await runTool(steps, "dmsetup", withoutUdev(args), { fds, deadlineMs: DEADLINE_MS });
  } catch (thrown) {
    const errno = thrown instanceof MosaicError ? findErrno(String(thrown.details.stderr)) : undefined;
    if (!(thrown instanceof MosaicError) || !errno) throw thrown;
    const details = { ...thrown.details, errno };
    throw new MosaicError(CODES[errno] ?? thrown.code, thrown.message, details, thrown);
  }
}

/**
 * Arguments of dmsetup that wait for the kernel and nobody else. Where no udev runs, dmsetup would make a node in /dev/mapper
 * with the resume that begins the life of a device, which a deferred removal leaves there for good; nobody needs it.
 */
export function withoutUdev([verb = "", ...args]: readonly string[]): string[] {
  const sync = TELLING_UDEV.includes(verb) ? ["--noudevsync"] : [];
  const node = verb === "resume" ? ["--addnodeoncreate"] : [];
  return [verb, ...sync, ...node, ...args];
}

/** Sends a message to the target of a device, such as `create_thin 3` to a pool. */
export function sendMessage(
  steps: Steps,
  device: string,
  message: string,
  fds: readonly number[] = [],
): Promise<void> {
  return runDmsetup(steps, ["message", device, "0", message], fds);
}

function findErrno(words: string): string | undefined {
  const said = /failed: ([^;\n]*)/.exec(words)?.[1]?.trim();
  return said === undefined ? undefined : ERRNO_WORDS[said];
}
