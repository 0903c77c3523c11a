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
