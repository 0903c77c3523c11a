import type { ErrorCode } from "../base/errors.ts";

/** The exit status for each error: published numbers, which never change. */
export const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  TOOL_FAILED: 1,
  PERMISSION_DENIED: 1,
  CANCELLED: 1,
  INVALID_ARGUMENT: 2,
  INVALID_CONFIG: 2,
  NOT_FOUND: 3,
  ALREADY_EXISTS: 4,
  BUSY: 5,
  LOCKED: 6,
  NO_SPACE: 7,
  UNSUPPORTED: 8,
  UNAVAILABLE: 9,
  DAMAGED: 10,
  INTERNAL: 70,
};

/** The stream of messages on standard input is broken. */
export const EXIT_INPUT_BROKEN = 65;
/** Standard output could not be written. */
export const EXIT_OUTPUT_LOST = 74;
/** The reader of standard output closed it. */
export const EXIT_PIPE_CLOSED = 141;
