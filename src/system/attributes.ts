import { closeFd, findStatus, openDirectory } from "./files.ts";
import { getAttribute, listAttributes, setAttribute } from "./libc.ts";
import { runTool } from "./runner.ts";
import { type Steps, shellQuote } from "./steps.ts";

/** Gives a file or directory the attributes of another one: labels of SELinux, access control lists, and what others have noted on it. */
export async function copyAttributes(steps: Steps, from: string, to: string, lockFd: number): Promise<void> {
  const argv = ["cp", "--attributes-only", "--preserve=xattr", "--", from, to] as const;
  const [tool, ...args] = argv;
  if (!findStatus(from)?.isDirectory()) await runTool(steps, tool, args, { fds: [lockFd] });
  // Of a directory cp(1) copies them only with all that is in it.
  else
    await steps.take<void>(
      { text: shellQuote(argv), kind: "call" },
      () => copyOfDirectory(from, to),
      undefined,
    );
}

function copyOfDirectory(from: string, to: string): void {
  const [fromFd, toFd] = [openDirectory(from), openDirectory(to)];
  try {
    for (const name of listAttributes(fromFd)) {
      const value = getAttribute(fromFd, name);
      if (value) setAttribute(toFd, name, value, false);
    }
  } finally {
    closeFd(fromFd);
    closeFd(toFd);
  }
}
