// Processes of a test's own that hold something until they are released.

const SHELL = ["sh", "-e", "-c"];
const NAMESPACE = ["unshare", "--mount", "--propagation", "private"];

/** The holding processes of one test. */
export class Holders {
  private readonly children: { readonly pid: number; readonly exited: Promise<number> }[] = [];

  /** Runs lines of shell, with the arguments as $1 and on, and then holds what the shell has; gives the pid. */
  hold(lines: string, ...args: readonly string[]): Promise<number> {
    return this.start([], lines, args);
  }

  /** As `hold`, in a mount namespace of its own. */
  holdInNamespace(lines: string, ...args: readonly string[]): Promise<number> {
    return this.start(NAMESPACE, lines, args);
  }

  /** Ends them all with what they started, and waits for their end. */
  async release(): Promise<void> {
    const children = this.children.splice(0);
    for (const { pid } of children) process.kill(-pid, "SIGKILL");
    await Promise.all(children.map((child) => child.exited));
  }

  private async start(prefix: readonly string[], lines: string, args: readonly string[]): Promise<number> {
    const script = `${lines}\necho ready\nexec sleep 600`;
    const child = Bun.spawn([...prefix, ...SHELL, script, "sh", ...args], {
      cwd: "/",
      detached: true,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.children.push(child);
    for await (const chunk of child.stdout) if (Buffer.from(chunk).includes("ready")) return child.pid;
    throw new Error(`the holder ended before it held anything: ${lines}`);
  }
}
