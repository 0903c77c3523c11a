import { expect, test } from "bun:test";
import type { ErrorCode } from "../../src/base/errors.ts";
import { EXIT_CODES, EXIT_OUTPUT_LOST, EXIT_PIPE_CLOSED } from "../../src/cli/exitcodes.ts";

/** Published numbers: scripts read them, so a change here breaks somebody. */
const PUBLISHED = {
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
} as const satisfies Record<ErrorCode, number>;

test("each error code has its published exit status", () => {
  expect(EXIT_CODES).toEqual(PUBLISHED);
});

test("no status is one that shells, signals or streams give a meaning", () => {
  const own = Object.values(EXIT_CODES);
  for (const status of own) {
    expect(status).toBeGreaterThan(0);
    expect(status).toBeLessThan(126);
    expect([65, EXIT_OUTPUT_LOST, EXIT_PIPE_CLOSED]).not.toContain(status);
  }
  expect([EXIT_OUTPUT_LOST, EXIT_PIPE_CLOSED]).toEqual([74, 128 + 13]);
});
