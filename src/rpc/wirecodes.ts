import type { ErrorCode, MosaicError } from "../base/errors.ts";

/** How an error looks to agents. */
interface WireRow {
  /** 1000 and the number of gRPC, and so of CSI, that is nearest in meaning: published, never changed. */
  readonly wire: number;
  /** Whether the same call may succeed later although nobody acts on it. */
  readonly retryable: boolean;
}

const WIRE: Readonly<Record<ErrorCode, WireRow>> = {
  CANCELLED: { wire: 1001, retryable: true },
  TOOL_FAILED: { wire: 1002, retryable: false },
  INVALID_ARGUMENT: { wire: 1003, retryable: false },
  INVALID_CONFIG: { wire: 1003, retryable: false },
  NOT_FOUND: { wire: 1005, retryable: false },
  ALREADY_EXISTS: { wire: 1006, retryable: false },
  PERMISSION_DENIED: { wire: 1007, retryable: false },
  NO_SPACE: { wire: 1008, retryable: false },
  BUSY: { wire: 1009, retryable: false },
  LOCKED: { wire: 1010, retryable: true },
  UNSUPPORTED: { wire: 1012, retryable: false },
  INTERNAL: { wire: 1013, retryable: false },
  UNAVAILABLE: { wire: 1014, retryable: false },
  DAMAGED: { wire: 1015, retryable: false },
};

/** What a failed call has changed. */
export type SideEffects = "none" | "partial" | "applied" | "unknown";

/** An error as the member of an answer. */
export interface WireError {
  readonly code: number;
  readonly message: string;
  readonly data: {
    readonly code: ErrorCode;
    readonly retryable: boolean;
    readonly sideEffects: SideEffects;
    readonly details: Readonly<Record<string, unknown>>;
  };
}

/** The codes of the library with their numbers. */
export function listWireErrors(): { readonly name: ErrorCode; readonly code: number }[] {
  return (Object.keys(WIRE) as ErrorCode[]).map((name) => ({ name, code: WIRE[name].wire }));
}

/** An error of the library as an answer has it. */
export function toWireError(error: MosaicError): WireError {
  const { wire, retryable } = WIRE[error.code];
  const isOverload = error.details.reason === "overloaded";
  return makeWireError(wire, error.message, error.code, error.details, {
    retryable: retryable || isOverload,
    sideEffects: findSideEffects(error),
  });
}

/** An error that has its number from the specification. */
export function makeWireError(
  code: number,
  message: string,
  name: ErrorCode,
  details: Readonly<Record<string, unknown>>,
  { retryable = false, sideEffects = "none" as SideEffects } = {},
): WireError {
  return { code, message, data: { code: name, retryable, sideEffects, details } };
}

/** A failed call has undone its steps, except where it says so. */
function findSideEffects({ code, details }: MosaicError): SideEffects {
  if (details.dropped === true) return "applied";
  if (code === "INTERNAL" || details.timedOut === true) return "unknown";
  return "none";
}
