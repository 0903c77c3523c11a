import { runTool } from "./runner.ts";
import type { Steps } from "./steps.ts";

/** Gives a file the attributes of another one: labels of SELinux, access control lists, and what others have noted on it. */
export async function copyAttributes(steps: Steps, from: string, to: string, lockFd: number): Promise<void> {
  await runTool(steps, "cp", ["--attributes-only", "--preserve=xattr", "--", from, to], { fds: [lockFd] });
}
