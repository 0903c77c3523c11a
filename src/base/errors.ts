/**
 * Every way in which mosaic can fail. The list is closed: each front end maps every code to its own number. The meaning of
 * each is in moctl.txt, EXIT STATUS AND ERRORS.
 */
export type ErrorCode =
  | "INVALID_ARGUMENT"
  | "INVALID_CONFIG"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "BUSY"
  | "LOCKED"
  | "NO_SPACE"
  | "UNSUPPORTED"
  | "UNAVAILABLE"
  | "DAMAGED"
  | "TOOL_FAILED"
  | "PERMISSION_DENIED"
  | "CANCELLED"
  | "INTERNAL";

/** What an error tells a program beside its code: only JSON values, so that it passes through any channel. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** The codes after which the same call may succeed without any change by the caller. */
const RETRYABLE: ReadonlySet<ErrorCode> = new Set(["BUSY", "LOCKED", "NO_SPACE", "UNAVAILABLE"]);

/** The one error class of mosaic. The message says what was tried, why it failed and what to do; `details` says the same as data, `cause` is the error below it. */
export class MosaicError extends Error {
  override readonly name = "MosaicError";
  /** What happened, one of the list. */
  readonly code: ErrorCode;
  /** The same as the message, as JSON values; which ones differs by code. */
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  /** Whether the same call may succeed later without a change by the caller: for BUSY, LOCKED, NO_SPACE and UNAVAILABLE. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }

  /** The error as a plain object for JSON output. */
  toJSON(): { code: ErrorCode; message: string; retryable: boolean; details: ErrorDetails } {
    return { code: this.code, message: this.message, retryable: this.retryable, details: this.details };
  }
}

/** The value quoted for a message: control characters become visible, so a name cannot forge a second line. */
export function quote(value: string): string {
  return JSON.stringify(value);
}

/** Any thrown value as a MosaicError; what is not ours is a bug and becomes INTERNAL. */
export function asMosaicError(thrown: unknown): MosaicError {
  if (thrown instanceof MosaicError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MosaicError("INTERNAL", `Internal error: ${message}`, {}, thrown);
}
