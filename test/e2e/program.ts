// Running programs to their end.

const LIMIT_MS = 90_000;

/** How a program is run. */
export interface RunSettings {
  readonly cwd?: string;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How a program ended. */
export interface Ended {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; one that hangs is ended and has no exit code. */
export function runProgram(argv: readonly string[], { cwd = "/", env = {} }: RunSettings = {}): Ended {
  const child = Bun.spawnSync([...argv], {
    cwd,
    env: { ...process.env, ...env },
    stdin: "ignore",
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  return { exit: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

/** Starts a program; `ended` is how it ends, without an exit code when a signal ended it. */
export function startProgram(argv: readonly string[]) {
  const child = Bun.spawn([...argv], {
    cwd: "/",
    env: process.env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  const ended = (async (): Promise<Ended> => {
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    await child.exited;
    return { exit: child.exitCode, stdout, stderr };
  })();
  return {
    pid: child.pid,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    exited: child.exited,
    ended,
  };
}
