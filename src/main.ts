import { isServerStart } from "./api/serving.ts";
import { asMosaicError, MosaicError } from "./base/errors.ts";
import { reportError, runCommandLine } from "./cli/cli.ts";
import { writeOutput } from "./cli/output.ts";

// The program: argv, signals and the exit status meet the code here and nowhere else.

declare const MOCTL_VERSION: string | undefined;

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

const version = typeof MOCTL_VERSION === "string" ? MOCTL_VERSION : "unbuilt";
const interruption = new AbortController();
let endedBy: keyof typeof SIGNAL_NUMBERS | undefined;

function requireIntactRuntime(): void {
  const guard = "--disallow-code-generation-from-strings=strict";
  if (!Bun.isStandaloneExecutable || process.execArgv.includes(guard)) return;
  console.error(
    "moctl: this binary was not built with its guard against code from strings: build it with scripts/build",
  );
  process.exit(70);
}

function watchSignals(): void {
  for (const signal of Object.keys(SIGNAL_NUMBERS) as (keyof typeof SIGNAL_NUMBERS)[]) {
    process.on(signal, () => {
      // The step at work ends, then everything is undone; a second signal does not wait for that.
      if (endedBy) process.exit(128 + SIGNAL_NUMBERS[signal]);
      endedBy = signal;
      interruption.abort(
        new MosaicError("CANCELLED", `Stopped by ${signal}; what was begun is undone`, { signal }),
      );
    });
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const environment = { version, signal: interruption.signal };
  if (!isServerStart(argv)) return runCommandLine(argv, environment);
  try {
    const { startServer } = await import("./rpc/start.ts");
    const abandon = () => process.exit(endedBy ? 128 + SIGNAL_NUMBERS[endedBy] : 1);
    return await startServer(argv, { ...environment, abandon, print: writeOutput });
  } catch (thrown) {
    return reportError(asMosaicError(thrown), { json: false, debug: false });
  }
}

requireIntactRuntime();
process.umask(0o077);
watchSignals();
const status = await run(process.argv.slice(2));
process.exit(endedBy && status !== 0 ? 128 + SIGNAL_NUMBERS[endedBy] : status);
