import { expect, test } from "bun:test";
import { findFree } from "../../../src/backends/dmthin/thin.ts";
import { expectError } from "../../support/expect.ts";

test("the lowest free id is found, and none beyond the last", async () => {
  expect(findFree(new Set(), 1)).toBe(1);
  expect(findFree(new Set([1, 2, 4]), 1)).toBe(3);
  expect(findFree(new Set([1, 2, 4]), 4)).toBe(5);
  const error = await expectError("NO_SPACE", () => findFree(new Set([1, 2, 3]), 1, 3));
  expect(error.message).toContain("all 3 device ids");
});
