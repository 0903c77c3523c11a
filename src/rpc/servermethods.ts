import { readdirSync } from "node:fs";
import { CONFIG_ENDINGS, configDirectory } from "../api/configfile.ts";
import { calling, unlessErrno } from "../system/errno.ts";
import { ANSWER_MAX_BYTES } from "./answers.ts";
import { DEPTH_MAX } from "./depth.ts";
import { MESSAGE_MAX_BYTES } from "./framing.ts";
import { BATCH_MAX, ID_MAX_BYTES, METHOD_MAX_BYTES } from "./messages.ts";
import { PROTOCOLS, REQUEST_KEY_MAX_BYTES } from "./meta.ts";
import type { Method } from "./method.ts";
import { PAGE_MAX } from "./pages.ts";
import { QUEUED_MAX, RUNNING_MAX } from "./scheduler.ts";

/** What the server tells of itself. */
export interface ServerFacts {
  readonly version: string;
  /** The config of the mosaic that it is bound to. */
  readonly mosaic: string | undefined;
  readonly framing: () => string;
}

/** The limits, as `server.info` has them. */
const LIMITS = {
  messageBytes: MESSAGE_MAX_BYTES,
  answerBytes: ANSWER_MAX_BYTES,
  batch: BATCH_MAX,
  depth: DEPTH_MAX,
  methodBytes: METHOD_MAX_BYTES,
  idBytes: ID_MAX_BYTES,
  requestKeyBytes: REQUEST_KEY_MAX_BYTES,
  running: RUNNING_MAX,
  queued: QUEUED_MAX,
  page: PAGE_MAX,
};

/** The methods that are about the server and not about one mosaic. */
export function listServerMethods(facts: ServerFacts): Map<string, Method> {
  const immediate = { parameters: [], mutates: false, isImmediate: true } as const;
  return new Map<string, Method>([
    [
      "server.ping",
      {
        ...immediate,
        summary: "answer at once",
        result: (z) => z.strictObject({}),
        schema: (z) => z.strictObject({}),
        run: () => ({}),
      },
    ],
    [
      "server.info",
      {
        ...immediate,
        summary: "tell what the server is, speaks and takes",
        result: (z) =>
          z.strictObject({
            name: z.string(),
            version: z.string(),
            protocols: z.array(z.int()),
            features: z.array(z.string()),
            limits: z.record(z.string(), z.int()),
            framing: z.string(),
            pid: z.int(),
            mosaic: z.optional(z.string()),
          }),
        schema: (z) => z.strictObject({}),
        run: () => describeServer(facts),
      },
    ],
    [
      "mosaic.list",
      {
        ...immediate,
        summary: "list the mosaics whose configs can be said by name",
        result: (z) => z.strictObject({ mosaics: z.array(z.string()) }),
        schema: (z) => z.strictObject({}),
        run: () => ({ mosaics: listMosaics() }),
      },
    ],
  ]);
}

function describeServer({ version, mosaic, framing }: ServerFacts): object {
  return {
    name: "moctl",
    version,
    protocols: PROTOCOLS,
    features: [
      "batches",
      "cancel",
      "progress",
      "deadlines",
      "dryRun",
      "repeats",
      "jobs",
      "requestKeys",
      "events",
    ],
    limits: LIMITS,
    framing: framing(),
    pid: process.pid,
    ...(mosaic !== undefined && { mosaic }),
  };
}

function listMosaics(): string[] {
  const directory = configDirectory();
  const files =
    unlessErrno(["ENOENT"], () => calling("readdir", directory, () => readdirSync(directory))) ?? [];
  const names = files.flatMap((file) => {
    const ending = CONFIG_ENDINGS.find((candidate) => file.endsWith(candidate) && file !== candidate);
    return ending ? [file.slice(0, -ending.length)] : [];
  });
  return [...new Set(names)].sort();
}
