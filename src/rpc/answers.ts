import type { ErrorCode } from "../base/errors.ts";
import {
  type Fault,
  type Id,
  INTERNAL_ERROR,
  INVALID_PARAMS,
  INVALID_REQUEST,
  METHOD_NOT_FOUND,
  PARSE_ERROR,
} from "./messages.ts";
import { makeWireError, type WireError } from "./wirecodes.ts";

// What the server says, as JSON texts without a newline.

/** The longest answer in bytes: some clients close the connection at 10 MiB. */
export const ANSWER_MAX_BYTES = 8 * 1024 ** 2;

/** What a call came to. */
export type Outcome = { readonly result: object | null } | { readonly error: WireError };

/** The answer to a call. One that is too long becomes an error that says so. */
export function formatAnswer(id: Id, outcome: Outcome): string {
  const [member, value] = "error" in outcome ? ["error", outcome.error] : ["result", outcome.result];
  const text = `{"jsonrpc":"2.0","id":${escapeLineEnds(id)},"${member}":${toJson(value)}}`;
  if (Buffer.byteLength(text) <= ANSWER_MAX_BYTES) return text;
  const message = `The result has more than ${ANSWER_MAX_BYTES} bytes: ask for less at a time`;
  const details = { reason: "result_too_large", limit: ANSWER_MAX_BYTES };
  return formatAnswer(id, {
    error: makeWireError(1003, message, "INVALID_ARGUMENT", details, { sideEffects: "unknown" }),
  });
}

/** The answer to a message with a fault. */
export function formatFault({ id, code, reason, message }: Fault): string {
  return formatAnswer(id, {
    error: makeWireError(code, message, FAULT_CODES[code] ?? "INVALID_ARGUMENT", { reason }),
  });
}

/** A message that nobody answers. */
export function formatNotification(method: string, params: object): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)},"params":${toJson(params)}}`;
}

/** Our codes for the numbers of the specification. */
const FAULT_CODES: Readonly<Record<number, ErrorCode>> = {
  [PARSE_ERROR]: "INVALID_ARGUMENT",
  [INVALID_REQUEST]: "INVALID_ARGUMENT",
  [METHOD_NOT_FOUND]: "UNSUPPORTED",
  [INVALID_PARAMS]: "INVALID_ARGUMENT",
  [INTERNAL_ERROR]: "INTERNAL",
};

function toJson(value: unknown): string {
  return escapeLineEnds(JSON.stringify(value) ?? "null");
}

/** Some readers take these for the end of a line. */
function escapeLineEnds(json: string): string {
  return /[\u0085\u2028\u2029]/.test(json)
    ? json.replaceAll(
        /[\u0085\u2028\u2029]/g,
        (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
      )
    : json;
}
