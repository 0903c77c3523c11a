import { listServerFlags, SERVER_STARTS } from "../api/serving.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { describeOpenRpc, parseFraming, type ServeOptions, serve } from "./server.ts";

/** What the program gives to a server. */
interface Environment extends Pick<ServeOptions, "version" | "signal" | "abandon"> {
  /** Writes standard output; gives the exit status. */
  readonly print: (text: string) => Promise<number>;
}

/** Starts the server that a command line asks for; gives the exit status. Throws INVALID_ARGUMENT, and what opening the config throws. */
export async function startServer(argv: readonly string[], environment: Environment): Promise<number> {
  const mosaic = argv[0] === "--rpc" ? undefined : argv[0];
  const options = parseOptions(argv.slice(mosaic === undefined ? 1 : 2));
  if (options.help) return environment.print(describeStart());
  if (options.openrpc) {
    const text = JSON.stringify(await describeOpenRpc(environment.version, mosaic), null, 2);
    return environment.print(`${text}\n`);
  }
  return serve({ ...environment, ...options, mosaic });
}

function parseOptions(
  words: readonly string[],
): Pick<ServeOptions, "framing" | "selftest"> & { openrpc: boolean; help: boolean } {
  const rest = [...words];
  let framing: ServeOptions["framing"] = "auto";
  const has = { "--selftest": false, "--openrpc": false, "--help": false };
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (Object.hasOwn(has, word)) has[word as keyof typeof has] = true;
    else if (word === "--framing") framing = parseFraming(takeValue(rest, word));
    else if (word === "--protocol") requireProtocol(takeValue(rest, word));
    else throw unexpected(word);
  }
  return { framing, selftest: has["--selftest"], openrpc: has["--openrpc"], help: has["--help"] };
}

function unexpected(word: string): MosaicError {
  const usage = `moctl CONFIG rpc, or moctl --rpc, with ${listOptions()
    .map(([words]) => words)
    .join(", ")}`;
  return new MosaicError("INVALID_ARGUMENT", `Usage: ${usage}: unexpected ${quote(word)}`, { usage });
}

/** The options with their values, and what each is for. */
function listOptions(): [words: string, summary: string][] {
  return listServerFlags().map(([flag, { choices, summary }]) => [
    choices ? `${flag} ${choices.join("|")}` : flag,
    summary,
  ]);
}

function describeStart(): string {
  const starts = Object.entries(SERVER_STARTS).map(
    ([words, summary]) => [`moctl ${words}`, summary] as const,
  );
  const options = listOptions();
  const width = Math.max(...[...starts, ...options].map(([words]) => words.length));
  const layRow = ([words, summary]: readonly [string, string]) => `  ${words.padEnd(width)}  ${summary}`;
  return [
    "A server for agents: JSON-RPC 2.0 on standard input and output. Its manual is doc/rpc.txt.",
    "",
    "Usage, each with options:",
    ...starts.map(layRow),
    "",
    "Options:",
    ...options.map(layRow),
    "",
  ].join("\n");
}

function takeValue(rest: string[], option: string): string {
  const value = rest.shift();
  if (value !== undefined) return value;
  throw new MosaicError("INVALID_ARGUMENT", `The option ${option} needs a value`, { option });
}

function requireProtocol(text: string): void {
  if (text === "1") return;
  throw new MosaicError("INVALID_ARGUMENT", `Unknown protocol ${quote(text)}: this server speaks 1`, {
    supported: [1],
  });
}
