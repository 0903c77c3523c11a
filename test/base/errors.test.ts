import { describe, expect, test } from "bun:test";
import { asMosaicError, type ErrorCode, MosaicError, quote } from "../../src/base/errors.ts";

const RETRYABLE: Record<ErrorCode, boolean> = {
  INVALID_ARGUMENT: false,
  INVALID_CONFIG: false,
  NOT_FOUND: false,
  ALREADY_EXISTS: false,
  BUSY: true,
  LOCKED: true,
  NO_SPACE: true,
  UNSUPPORTED: false,
  UNAVAILABLE: true,
  DAMAGED: false,
  TOOL_FAILED: false,
  PERMISSION_DENIED: false,
  CANCELLED: false,
  INTERNAL: false,
};

describe("MosaicError", () => {
  test.each(Object.entries(RETRYABLE) as [ErrorCode, boolean][])("%s: retryable is %s", (code, retryable) => {
    const error = new MosaicError(code, "why", { name: "web" });
    expect(error.retryable).toBe(retryable);
    expect(JSON.parse(JSON.stringify({ error }))).toEqual({
      error: { code, message: "why", retryable, details: { name: "web" } },
    });
  });

  test("keeps its cause, which stays out of JSON", () => {
    const cause = new Error("the secret path");
    const error = new MosaicError("TOOL_FAILED", "mkfs failed", {}, cause);
    expect(error.cause).toBe(cause);
    expect(JSON.stringify(error)).not.toContain("secret");
    expect(new MosaicError("BUSY", "why")).not.toHaveProperty("cause");
  });

  test("is an error by its name, message and stack", () => {
    const error = new MosaicError("BUSY", "it is mounted");
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe("MosaicError: it is mounted");
    expect(error.stack).toContain("errors.test.ts");
  });
});

describe("asMosaicError", () => {
  test("gives our own errors unchanged", () => {
    const error = new MosaicError("NOT_FOUND", "no");
    expect(asMosaicError(error)).toBe(error);
  });

  test.each([
    ["an error", new TypeError("x is undefined"), "Internal error: x is undefined"],
    ["a text", "text", "Internal error: text"],
    ["nothing", undefined, "Internal error: undefined"],
  ])("makes %s a bug of ours", (_what, thrown, message) => {
    const error = asMosaicError(thrown);
    expect(error).toMatchObject({ code: "INTERNAL", message, details: {} });
    expect(error.cause).toBe(thrown as never);
  });
});

test("quote keeps a value on one line", () => {
  expect(quote('a"b\n\x1b')).toBe(String.raw`"a\"b\n\u001b"`);
});
