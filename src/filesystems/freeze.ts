import { type ErrorCode, MosaicError } from "../base/errors.ts";
import { runTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import { FREEZE_LIMIT_SECONDS, startWatchdog, type Watchdog } from "../system/watchdog.ts";

export { FREEZE_LIMIT_SECONDS };

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
  const watchdog = await startWatchdog(steps, lock.path, "fsfreeze", ["--unfreeze", FROZEN_PATH], [mountFd]);
  await freeze(steps, mountFd, lock.fd, watchdog);
  try {
    await action();
  } finally {
    await thaw(steps, mountFd, watchdog);
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

/** Where it fails twice the watchdog lives on, and thaws as soon as the lock is free. */
async function thaw(steps: Steps, mountFd: number, watchdog: Watchdog): Promise<void> {
  const unfreeze = () =>
    runTool(steps, "fsfreeze", ["--unfreeze", FROZEN_PATH], { fds: [mountFd], translate: translateThaw });
  try {
    await unfreeze();
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    const isThawed = thrown.code === "BUSY";
    if (!isThawed) await unfreeze();
    await watchdog.end();
    throw isThawed ? tooSlow(thrown) : thrown;
  }
  await watchdog.end();
}

/** fsfreeze says so of a filesystem that is not frozen. */
function translateThaw(words: string): ErrorCode | undefined {
  return words.includes("Invalid argument") ? "BUSY" : undefined;
}

function tooSlow(cause: MosaicError): MosaicError {
  const message = `the filesystem thawed before its copy was complete, after ${FREEZE_LIMIT_SECONDS} seconds: try again when the host is less busy`;
  return new MosaicError("BUSY", message, {}, cause);
}
