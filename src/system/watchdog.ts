import { findTool, startTool, type Tool } from "./runner.ts";
import type { Steps } from "./steps.ts";

/** The longest time in seconds that a filesystem or a device stays frozen, whatever happens to us. */
export const FREEZE_LIMIT_SECONDS = 20;

/** A process that thaws what we froze. */
export type Watchdog = Awaited<ReturnType<typeof startTool>>;

/**
 * Starts a process that runs a tool when the limit is over, or at once when the flock of the directory `lockPath` ends
 * with us. Without a shell, find(1) is the program that runs one command after another: flock(1) waits for the lock, but
 * no longer than the limit, and then, whatever it says, the tool thaws. The next command may have swept the directory
 * before flock looks at it, which must not make a file in its place: a path that ends in `/.` can only be a directory.
 */
export function startWatchdog(
  steps: Steps,
  lockPath: string,
  tool: Tool,
  thawArgs: readonly string[],
  fds: readonly number[] = [],
): Promise<Watchdog> {
  // Where a program is missing the watchdog would say so to nobody: so that is found out before the freeze.
  const [flock, thaw, done] = (["flock", tool, "true"] as const).map(findTool);
  const wait = ["-exec", flock, "--timeout", String(FREEZE_LIMIT_SECONDS), `${lockPath}/.`, done, ";"];
  const args = ["/", "-maxdepth", "0", ...wait, ",", "-exec", thaw, ...thawArgs, ";"] as string[];
  return startTool(steps, "find", args, fds);
}
