import { type ErrorCode, MosaicError } from "../base/errors.ts";
import { findTool, runTool, startTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";

/** The longest time in seconds that a filesystem stays frozen, whatever happens to us. */
export const FREEZE_LIMIT_SECONDS = 20;

/** A directory whose flock this process holds. */
export interface HeldLock {
  readonly path: string;
  readonly fd: number;
}

const FROZEN_PATH = "/proc/self/fd/3";

/**
 * Runs `action` while the filesystem of the mount `mountFd` is frozen: fsfreeze(8). A watchdog in a process of its own
 * thaws it when the limit is over, or at once when we are killed. Throws BUSY when the freeze did not last long enough.
 * @param lock a directory on which this process holds the flock with `fd`, which ends with this process
 */
export async function whileFrozen(
  steps: Steps,
  mountFd: number,
  lock: HeldLock,
  action: () => Promise<void>,
): Promise<void> {
  const watchdog = await startWatchdog(steps, mountFd, lock.path);
  await freeze(steps, mountFd, lock.fd, watchdog);
  try {
    await action();
  } finally {
    // Where the thaw fails the watchdog lives on, and thaws as soon as the lock is free.
    await thaw(steps, mountFd);
    await watchdog.end();
  }
}

async function freeze(steps: Steps, mountFd: number, lockFd: number, watchdog: Watchdog): Promise<void> {
  try {
    const options = { fds: [mountFd, lockFd], translate: translateFreeze };
    await runTool(steps, "fsfreeze", ["--freeze", FROZEN_PATH], options);
  } catch (thrown) {
    // Only a freeze that may still come has to be thawed; somebody else's is not ours to thaw.
    if (!(thrown instanceof MosaicError) || thrown.details.timedOut !== true) await watchdog.end();
    throw thrown;
  }
}

/** fsfreeze says so of a filesystem that is frozen already. */
function translateFreeze(words: string): ErrorCode | undefined {
  return words.includes("Device or resource busy") ? "BUSY" : undefined;
}

type Watchdog = Awaited<ReturnType<typeof startTool>>;

async function thaw(steps: Steps, mountFd: number): Promise<void> {
  const unfreeze = () =>
    runTool(steps, "fsfreeze", ["--unfreeze", FROZEN_PATH], { fds: [mountFd], translate: translateThaw });
  try {
    await unfreeze();
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    if (thrown.code === "BUSY") throw tooSlow(thrown);
    await unfreeze();
    throw thrown;
  }
}

/** fsfreeze says so of a filesystem that is not frozen. */
function translateThaw(words: string): ErrorCode | undefined {
  return words.includes("Invalid argument") ? "BUSY" : undefined;
}

function tooSlow(cause: MosaicError): MosaicError {
  const message = `the filesystem thawed before its copy was complete, after ${FREEZE_LIMIT_SECONDS} seconds: try again when the host is less busy`;
  return new MosaicError("BUSY", message, {}, cause);
}

/**
 * Without a shell, find(1) is the program that runs one command after another: flock(1) waits for the lock that ends
 * with us, but no longer than the limit, and then fsfreeze(8) thaws.
 */
async function startWatchdog(steps: Steps, mountFd: number, lockPath: string): Promise<Watchdog> {
  // Where a program is missing the watchdog would say so to nobody: so that is found out before the freeze.
  const [flock, fsfreeze, done] = (["flock", "fsfreeze", "true"] as const).map(findTool);
  const limit = ["--timeout", String(FREEZE_LIMIT_SECONDS), "--conflict-exit-code", "0"];
  const wait = ["-exec", flock, ...limit, lockPath, done, ";"];
  const thaw = ["-exec", fsfreeze, "--unfreeze", FROZEN_PATH, ";"];
  const args = [lockPath, "-maxdepth", "0", ...wait, ...thaw] as string[];
  return startTool(steps, "find", args, [mountFd]);
}
