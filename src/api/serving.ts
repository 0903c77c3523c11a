// How the server for agents is started: what the program, its help and the completions know of it without loading it.

/** An option of the server. */
interface ServerFlag {
  readonly summary: string;
  /** What its value may be; it stands alone when absent. */
  readonly choices?: readonly string[];
}

/** The options of `moctl CONFIG rpc` and `moctl --rpc`. */
export const SERVER_FLAGS = {
  "--framing": {
    summary: "how messages lie in the stream; auto when absent",
    choices: ["auto", "ndjson", "lsp"],
  },
  "--protocol": { summary: "end with status 2 where this version is not spoken", choices: ["1"] },
  "--openrpc": { summary: "print the OpenRPC document and end" },
  "--selftest": { summary: "add methods for tests of clients" },
  "--help": { summary: "explain how a server is started" },
} as const satisfies Readonly<Record<string, ServerFlag>>;

/** The ways to start a server, with what each is. */
export const SERVER_STARTS = {
  "CONFIG rpc": "serve the actions on one mosaic",
  "--rpc": "serve them on all: each call names its mosaic",
} as const;

/** Whether a command line starts a server. */
export function isServerStart(argv: readonly string[]): boolean {
  return argv[0] === "--rpc" || (argv[1] === "rpc" && !argv[0]?.startsWith("-"));
}

/** The options of a server as a plain table. */
export function listServerFlags(): [flag: string, ServerFlag][] {
  return Object.entries(SERVER_FLAGS);
}
