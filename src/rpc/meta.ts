import { MosaicError } from "../base/errors.ts";

/** What a call may say of itself in `params._meta`. What is unknown there is ignored. */
export interface Meta {
  readonly progressToken?: string | number;
  readonly timeoutMs?: number;
  /** Makes a repeat with the same key get the outcome of the first. */
  readonly requestKey?: string;
  readonly dryRun?: boolean;
  readonly background?: boolean;
  readonly jobId?: string;
  /** Not to wait where another call works on the same volume. */
  readonly nowait?: boolean;
  readonly protocolVersion?: number;
}

/** The versions of the protocol that the server speaks. */
export const PROTOCOLS = [1];
/** The longest request key, in bytes. */
export const REQUEST_KEY_MAX_BYTES = 128;
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

const RULES: Readonly<Record<keyof Meta, [(value: unknown) => boolean, string]>> = {
  progressToken: [(value) => typeof value === "string" || typeof value === "number", "a string or a number"],
  timeoutMs: [(value) => isPositive(value) && value <= TIMEOUT_MAX_MS, "a whole number of milliseconds"],
  requestKey: [
    (value) => typeof value === "string" && value !== "" && Buffer.byteLength(value) <= REQUEST_KEY_MAX_BYTES,
    `a string of at most ${REQUEST_KEY_MAX_BYTES} bytes`,
  ],
  dryRun: [(value) => typeof value === "boolean", "true or false"],
  background: [(value) => typeof value === "boolean", "true or false"],
  jobId: [(value) => typeof value === "string", "a string"],
  nowait: [(value) => typeof value === "boolean", "true or false"],
  protocolVersion: [isPositive, "a whole number"],
};

/** A member of `_meta` that is not what it must be. */
export class MetaFault extends Error {
  constructor(
    readonly member: string,
    readonly expected: string,
  ) {
    super(`expected ${expected}`);
  }
}

/** The `_meta` of a call's params. Throws MetaFault, UNSUPPORTED for a protocol that is not spoken. */
export function parseMeta(value: unknown): Meta {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw new MetaFault("", "an object");
  const meta = value as Record<string, unknown>;
  for (const [member, [isValid, expected]] of Object.entries(RULES))
    if (Object.hasOwn(meta, member) && !isValid(meta[member])) throw new MetaFault(member, expected);
  const { protocolVersion } = meta as Meta;
  if (protocolVersion === undefined || PROTOCOLS.includes(protocolVersion)) return meta as Meta;
  throw new MosaicError(
    "UNSUPPORTED",
    `The server does not speak protocol ${protocolVersion}: it speaks ${PROTOCOLS.join(", ")}`,
    { reason: "protocol", supported: PROTOCOLS },
  );
}

function isPositive(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}
