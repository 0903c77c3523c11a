// Programs are run in turn, A B A B, so that what else the machine does meets all of them.

/** One run of a program; what is done before and after it is not measured. */
export interface Run {
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly before?: () => void;
  readonly after?: () => void;
}

/** Gives the run of a round, which are counted from 0. */
export type Side = (round: number) => Run;

/** The times of one side, a number for each round. CPU is user and system time, with that of the children. */
export interface Samples {
  readonly wallMs: number[];
  readonly cpuMs: number[];
}

/** Of the environment only what finds programs, and where moctl keeps what a reboot makes void. */
const ENVIRONMENT = {
  PATH: process.env.PATH ?? "",
  LC_ALL: "C",
  ...(process.env.MOSAIC_RUN_DIR && { MOSAIC_RUN_DIR: process.env.MOSAIC_RUN_DIR }),
};
const WARM_UP_ROUNDS = 2;
const LEAST_ROUNDS = 5;
const BUDGET_MS = 20_000;

/** Runs all sides in turn, `rounds` times or as often as the time allows. Throws when a program fails. */
export function measure<Name extends string>(
  rounds: number,
  sides: Readonly<Record<Name, Side>>,
): Record<Name, Samples> {
  const entries = Object.entries<Side>(sides).map(([name, side]) => ({
    name,
    side,
    samples: { wallMs: [], cpuMs: [] } as Samples,
  }));
  const start = performance.now();
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    if (round >= LEAST_ROUNDS && performance.now() - start > BUDGET_MS) break;
    for (const { side, samples } of entries) {
      const { wallMs, cpuMs } = runOnce(side(round + WARM_UP_ROUNDS));
      if (round < 0) continue;
      samples.wallMs.push(wallMs);
      samples.cpuMs.push(cpuMs);
    }
  }
  return Object.fromEntries(entries.map(({ name, samples }) => [name, samples])) as Record<Name, Samples>;
}

function runOnce(run: Run): { wallMs: number; cpuMs: number } {
  run.before?.();
  const start = performance.now();
  const { cpuMs } = runProgram(run, "ignore");
  const wallMs = performance.now() - start;
  run.after?.();
  return { wallMs, cpuMs };
}

/** What a program printed, and its CPU time with that of its children. */
interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly cpuMs: number;
}

/** Runs a program to its end. Throws when it fails. */
export function runProgram(run: Run, stdout: "pipe" | "ignore" = "pipe"): Ended {
  const result = Bun.spawnSync([...run.argv], {
    cwd: run.cwd ?? "/",
    env: { ...ENVIRONMENT, ...run.environment },
    stdin: "ignore",
    stdout,
    stderr: "pipe",
  });
  const stderr = result.stderr.toString();
  if (!result.success) throw new Error(`${run.argv.join(" ")}: status ${result.exitCode}: ${stderr}`);
  const microseconds = Number(result.resourceUsage?.cpuTime.total ?? 0);
  return { stdout: result.stdout?.toString() ?? "", stderr, cpuMs: microseconds / 1000 };
}

/**
 * Runs all sides in turn, as often as said or as the time allows; gives what each of them gave. The first round does not
 * count.
 */
export function measureInTurn<Name extends string>(
  rounds: number,
  sides: Readonly<Record<Name, () => number>>,
  budgetMs = Number.POSITIVE_INFINITY,
): Record<Name, number[]> {
  const entries = Object.entries<() => number>(sides).map(([name, run]) => ({
    name,
    run,
    found: [] as number[],
  }));
  const start = performance.now();
  for (let round = 0; round <= rounds; round++) {
    if (round > LEAST_ROUNDS && performance.now() - start > budgetMs) break;
    for (const { run, found } of entries) found.push(run());
  }
  return Object.fromEntries(entries.map(({ name, found }) => [name, found.slice(1)])) as Record<
    Name,
    number[]
  >;
}

/** How long something takes. */
export function timeMs(action: () => void): number {
  const start = performance.now();
  action();
  return performance.now() - start;
}

/** The value below which a part of the numbers lies: 0.5 is the median. */
export function quantile(numbers: readonly number[], part: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const place = (sorted.length - 1) * part;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

/** The ratios of one side to another, round by round. */
export function ratiosOf(numbers: readonly number[], base: readonly number[]): number[] {
  return numbers.map((number, round) => number / (base[round] ?? Number.NaN));
}
