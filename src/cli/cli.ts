import { actionOf } from "../api/actions.ts";
import { asMosaicError, type MosaicError } from "../base/errors.ts";
import { cancellableSteps, directSteps, loggedSteps, plannedSteps, type Steps } from "../system/steps.ts";
import { type Command, type Options, parseCommand, parseOptions } from "./arguments.ts";
import { EXIT_CODES } from "./exitcodes.ts";
import { writeDiagnostic, writeOutput } from "./output.ts";
import { formatHint, formatText } from "./text.ts";

/** What the program gives to the command line. */
export interface Environment {
  readonly version: string;
  /** Aborted when the user wants the command to stop. */
  readonly signal: AbortSignal;
}

/** Runs a command line; gives the exit status. Never throws. */
export async function runCommandLine(argv: readonly string[], environment: Environment): Promise<number> {
  let options: Options = {
    json: argv.includes("--json"),
    dryRun: false,
    verbose: false,
    debug: argv.includes("--debug"),
    waitSeconds: 0,
  };
  try {
    options = parseOptions(argv);
    return await runCommand(await parseCommand(argv), options, environment);
  } catch (thrown) {
    return reportError(asMosaicError(thrown), options);
  }
}

async function runCommand(command: Command, options: Options, environment: Environment): Promise<number> {
  if (command.what === "version") return writeOutput(`moctl ${environment.version}\n`);
  if (command.what !== "run") return writeOutput(await describe(command));
  const planned: string[] = [];
  const notes: string[] = [];
  const steps = chooseSteps(options, environment.signal, planned);
  // What works on storage is loaded only when it is needed: the help and the version start without it.
  const { performAction } = await import("../api/perform.ts");
  const result = await performAction(command.mosaic, command.action, command.values, {
    steps,
    notify: options.json ? (note) => notes.push(note) : writeDiagnostic,
    lockTimeoutMs: options.waitSeconds * 1000,
  });
  if (options.dryRun)
    return writeOutput(
      options.json ? toJson({ steps: planned }) : planned.map((step) => `${step}\n`).join(""),
    );
  const hint = formatHint(command.action, result);
  if (hint && !options.json) writeDiagnostic(hint);
  const status = await writeOutput(
    options.json
      ? toJson(notes.length > 0 ? { ...result, notes } : result)
      : formatText(command.action, result),
  );
  const failure = actionOf(command.action).failureOf?.(result);
  return status || (failure ? EXIT_CODES[failure] : 0);
}

/** What is told without a look at storage, and what a shell asks; loaded only for that. */
async function describe(command: Exclude<Command, { what: "run" | "version" }>): Promise<string> {
  if (command.what === "help") return (await import("./help.ts")).formatHelp(command.action);
  if (command.what === "man") return (await import("./man.ts")).MANUAL_PAGE;
  if (command.what === "complete")
    return (await import("./candidates.ts")).listCandidates(command.shellName, command.typed);
  return (await import("./completion.ts")).formatCompletion(command.shellName);
}

function chooseSteps(options: Options, signal: AbortSignal, planned: string[]): Steps {
  if (options.dryRun) return plannedSteps((text) => planned.push(text));
  const log = (text: string, durationMs: number) =>
    writeDiagnostic(`${durationMs.toFixed(1).padStart(8)} ms  ${text}`);
  return cancellableSteps(options.verbose ? loggedSteps(directSteps, log) : directSteps, signal);
}

/** Prints an error; gives its exit status. */
export function reportError(error: MosaicError, options: Pick<Options, "json" | "debug">): number {
  if (options.json) writeDiagnostic(JSON.stringify({ error }));
  else writeDiagnostic(`moctl: ${error.message}`);
  if (options.debug && error.code === "INTERNAL")
    writeDiagnostic(String((error.cause as Error | undefined)?.stack ?? error.stack));
  return EXIT_CODES[error.code];
}

function toJson(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
