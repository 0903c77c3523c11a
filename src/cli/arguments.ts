import { ACTION_NAMES, type ActionName, type Argument, actionOf, findAction } from "../api/actions.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { findNearest } from "../base/nearest.ts";

/** What a command line asks for. */
export type Command =
  | { readonly what: "version" }
  | { readonly what: "man" }
  | { readonly what: "completion"; readonly shellName: ShellName }
  | { readonly what: "complete"; readonly shellName: ShellName; readonly typed: readonly string[] }
  | { readonly what: "help"; readonly action?: ActionName | undefined }
  | { readonly what: "run"; readonly mosaic: string; readonly action: ActionName; readonly values: Values };

/** The shells that there are completions for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
/** One of them. */
export type ShellName = (typeof SHELLS)[number];

type Values = Readonly<Record<string, unknown>>;

/** The options that every action has. */
export interface Options {
  readonly json: boolean;
  readonly dryRun: boolean;
  readonly verbose: boolean;
  readonly debug: boolean;
  readonly waitSeconds: number;
}

/** The options as flags, with what the help says of each. */
export const COMMON_FLAGS = {
  "--json": "print one JSON object; errors too, on standard error",
  "--dry-run": "print the steps that would be taken, and change nothing",
  "--verbose": "print each step and its time on standard error",
  "--wait": "SECONDS to wait for a volume that another moctl works on (30)",
  "--debug": "print the stack of an internal error",
  "--help": "explain moctl, or the action",
  "--version": "print the version",
} as const;

/** The options in `argv`, read even where the rest is wrong, so that its error has the right form. */
export function parseOptions(argv: readonly string[]): Options {
  const { flags } = splitWords(argv);
  const has = (flag: keyof typeof COMMON_FLAGS) => flags.has(flag);
  return {
    json: has("--json"),
    dryRun: has("--dry-run"),
    verbose: has("--verbose"),
    debug: has("--debug"),
    waitSeconds: parseWait(flags.get("--wait") ?? "30"),
  };
}

/** The command in `argv`. Throws INVALID_ARGUMENT with the synopsis. */
export async function parseCommand(argv: readonly string[]): Promise<Command> {
  const { words, flags, fault } = splitWords(argv);
  if (fault) throw fault;
  const [mosaic, actionWord, ...rest] = words;
  if (flags.has("--version")) return { what: "version" };
  const action = actionWord === undefined ? undefined : findAction(actionWord);
  if (flags.has("--help"))
    return { what: "help", action: action ?? (mosaic === undefined ? undefined : findAction(mosaic)) };
  const own = findOwnCommand(words);
  if (own) return own;
  if (mosaic === undefined || actionWord === undefined)
    throw usage("moctl CONFIG ACTION ARGUMENT ...", "expected a config and an action; see moctl --help");
  if (!action) throw unknownAction(actionWord);
  return { what: "run", mosaic, action, values: await readValues(action, rest, flags) };
}

/** A command without a config: words that can be no config with an action. With words after the shell it is the shell that asks. */
function findOwnCommand([first, second, ...typed]: readonly string[]): Command | undefined {
  if (first === "man" && second === undefined) return { what: "man" };
  const shellName = SHELLS.find((name) => name === second);
  if (first !== "completion") return undefined;
  if (shellName)
    return typed.length > 0 ? { what: "complete", shellName, typed } : { what: "completion", shellName };
  if (second !== undefined) return undefined;
  throw usage(`moctl completion {${SHELLS.join("|")}}`, "expected a shell");
}

/** The synopsis of an action, such as `moctl CONFIG drop VOLUME`. */
export function synopsisOf(action: ActionName): string {
  const parts = Object.values(actionOf(action).arguments).map((argument) =>
    argument.isOptional ? `[${formatArgument(argument)}]` : formatArgument(argument),
  );
  const optionsFirst = [...parts].sort((a, b) => Number(b.startsWith("[-")) - Number(a.startsWith("[-")));
  return ["moctl CONFIG", action, ...optionsFirst].join(" ");
}

/** An argument as it is said, such as "-o FLAGS". */
export function formatArgument({ flag, label }: Argument): string {
  return flag === undefined ? label : `${flag} ${label}`.trimEnd();
}

/** Splits a command line. Options may stand anywhere; a lone "-" is a word, and after "--" everything is. */
export function splitWords(argv: readonly string[]): Line {
  const words: string[] = [];
  const flags = new Map<string, string>();
  const withValue = new Set(["--wait", ...listFlags(false)]);
  const alone = new Set([...Object.keys(COMMON_FLAGS), ...listFlags(true)]);
  let fault: MosaicError | undefined;
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    if (word === "--") return { words: [...words, ...argv.slice(index + 1)], flags, fault, isEnded: true };
    const value = argv[index + 1];
    if (!word.startsWith("-") || word === "-") words.push(word);
    else if (alone.has(word) && !withValue.has(word)) flags.set(word, "");
    else if (!withValue.has(word)) fault ??= unknownOption(word, [...withValue, ...alone]);
    else if (value === undefined) return { words, flags, fault: fault ?? missingValue(word), open: word };
    else flags.set(argv[index++] ?? "", value);
  }
  return { words, flags, fault };
}

/** The words and options of a command line. */
export interface Line {
  readonly words: readonly string[];
  readonly flags: ReadonlyMap<string, string>;
  /** The first thing that is no option of ours. */
  readonly fault: MosaicError | undefined;
  /** A flag at the end, whose value is not there. */
  readonly open?: string;
  /** Whether a "--" ended the options. */
  readonly isEnded?: boolean;
}

/** The flags of all actions that stand alone, or those that have a value. */
function listFlags(isSwitch: boolean): string[] {
  const all = ACTION_NAMES.flatMap((name) => Object.values(actionOf(name).arguments));
  return all.flatMap(({ flag, isSwitch: standsAlone = false }) =>
    flag !== undefined && standsAlone === isSwitch ? [flag] : [],
  );
}

function missingValue(flag: string): MosaicError {
  return new MosaicError("INVALID_ARGUMENT", `The option ${flag} needs a value`, { option: flag });
}

async function readValues(
  action: ActionName,
  words: readonly string[],
  flags: ReadonlyMap<string, string>,
): Promise<Values> {
  const values: Record<string, unknown> = {};
  const rest = [...words];
  const known = Object.entries(actionOf(action).arguments);
  for (const [name, argument] of known) {
    const text = argument.flag === undefined ? rest.shift() : flags.get(argument.flag);
    if (text !== undefined) values[name] = await parseArgument(argument, text);
    else if (!argument.isOptional) throw usage(synopsisOf(action), `${argument.label} is missing`);
  }
  if (rest.length > 0) throw usage(synopsisOf(action), `unexpected ${quote(rest[0] ?? "")}`);
  for (const flag of flags.keys()) {
    const isKnown = Object.hasOwn(COMMON_FLAGS, flag) || known.some(([, argument]) => argument.flag === flag);
    if (!isKnown) throw usage(synopsisOf(action), `${action} has no option ${flag}`);
  }
  return values;
}

async function parseArgument(argument: Argument, text: string): Promise<unknown> {
  if (argument.isSwitch) return true;
  if (argument.isJsonFile) return readJsonFile(text);
  if (!argument.choices) return argument.parse ? argument.parse(text) : text;
  const choice = text === "" ? undefined : argument.choices.find((candidate) => candidate.startsWith(text));
  if (choice !== undefined) return choice;
  throw new MosaicError(
    "INVALID_ARGUMENT",
    `Unknown ${argument.label} ${quote(text)}: expected ${argument.choices.join(" or ")}`,
    { found: text },
  );
}

async function readJsonFile(path: string): Promise<unknown> {
  try {
    return await Bun.file(path).json();
  } catch (thrown) {
    const why = (thrown as Error).message;
    throw new MosaicError("INVALID_ARGUMENT", `Cannot read ${quote(path)} as JSON: ${why}`, { path }, thrown);
  }
}

function parseWait(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  const message = `Invalid value ${quote(text)} of --wait: expected a whole number of seconds`;
  throw new MosaicError("INVALID_ARGUMENT", message);
}

function usage(synopsis: string, why: string): MosaicError {
  return new MosaicError("INVALID_ARGUMENT", `Usage: ${synopsis}: ${why}`, { synopsis });
}

function unknownAction(word: string): MosaicError {
  const nearest = findNearest(word, ACTION_NAMES);
  const hint = nearest ? `did you mean ${nearest}?` : `expected one of ${ACTION_NAMES.join(", ")}`;
  return new MosaicError("INVALID_ARGUMENT", `Unknown action ${quote(word)}: ${hint}`, { action: word });
}

function unknownOption(word: string, known: readonly string[]): MosaicError {
  const nearest = findNearest(word, known);
  const hint = nearest ? `did you mean ${nearest}?` : "see moctl --help; after -- a word is never an option";
  return new MosaicError("INVALID_ARGUMENT", `Unknown option ${quote(word)}: ${hint}`, { option: word });
}
