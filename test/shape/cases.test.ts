import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

// The conformance cases of the server have numbers, by which their tests are named.

const CASES = 40;
const DIRECTORY = join(import.meta.dir, "../e2e/rpc");

test("each of the conformance cases of JSON-RPC has a test", () => {
  const numbers = [...new Bun.Glob("**/*.test.ts").scanSync(DIRECTORY)].flatMap((file) =>
    [...readFileSync(join(DIRECTORY, file), "utf8").matchAll(/"case (\d+): /g)].map(([, number]) =>
      Number(number),
    ),
  );
  expect([...new Set(numbers)].sort((a, b) => a - b)).toEqual(
    Array.from({ length: CASES }, (_, index) => index + 1),
  );
});
