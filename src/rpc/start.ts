import { MosaicError, quote } from "../base/errors.ts";
import { describeOpenRpc, parseFraming, type ServeOptions, serve } from "./server.ts";

/** What the program gives to a server. */
interface Environment extends Pick<ServeOptions, "version" | "signal" | "abandon"> {
  /** Writes standard output; gives the exit status. */
  readonly print: (text: string) => Promise<number>;
}

/** Whether a command line starts a server: `moctl CONFIG rpc` or `moctl --rpc`. */
export function isServerStart(argv: readonly string[]): boolean {
  return argv[0] === "--rpc" || (argv[1] === "rpc" && !argv[0]?.startsWith("-"));
}

/** Starts the server that a command line asks for; gives the exit status. Throws INVALID_ARGUMENT, and what opening the config throws. */
export async function startServer(argv: readonly string[], environment: Environment): Promise<number> {
  const mosaic = argv[0] === "--rpc" ? undefined : argv[0];
  const options = parseOptions(argv.slice(mosaic === undefined ? 1 : 2));
  if (options.openrpc) {
    const text = JSON.stringify(await describeOpenRpc(environment.version, mosaic), null, 2);
    return environment.print(`${text}\n`);
  }
  return serve({ ...environment, ...options, mosaic });
}

function parseOptions(
  words: readonly string[],
): Pick<ServeOptions, "framing" | "selftest"> & { openrpc: boolean } {
  const rest = [...words];
  let framing: ServeOptions["framing"] = "auto";
  let selftest = false;
  let openrpc = false;
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--selftest") selftest = true;
    else if (word === "--openrpc") openrpc = true;
    else if (word === "--framing") framing = parseFraming(takeValue(rest, word));
    else if (word === "--protocol") requireProtocol(takeValue(rest, word));
    else {
      const usage =
        "moctl CONFIG rpc, or moctl --rpc, with --framing auto|ndjson|lsp, --protocol 1, --selftest, --openrpc";
      throw new MosaicError("INVALID_ARGUMENT", `Usage: ${usage}: unexpected ${quote(word)}`, { usage });
    }
  }
  return { framing, selftest, openrpc };
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
