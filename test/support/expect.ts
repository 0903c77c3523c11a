import { expect } from "bun:test";
import { type ErrorCode, MosaicError } from "../../src/base/errors.ts";

/** Runs what must fail with this code; gives the error. */
export async function expectError(code: ErrorCode, action: () => unknown): Promise<MosaicError> {
  let thrown: unknown;
  try {
    await action();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(MosaicError);
  const error = thrown as MosaicError;
  expect([error.code, error.message]).toEqual([code, error.message]);
  return error;
}

/** Waits until the condition holds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited too long for ${what}`);
    await Bun.sleep(20);
  }
}
