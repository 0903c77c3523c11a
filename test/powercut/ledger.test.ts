import { expect, test } from "bun:test";
import { type Change, type Known, type Line, readLedger, settle } from "./ledger.ts";

// The judge of the power cuts must itself be judged: each kind of loss is seen, and nothing else.

const FS: Known = { kind: "fs", sizeBytes: 32, sum: null };

function ledger(...changes: readonly (readonly [Change, isAnswered: boolean])[]): Line[] {
  return changes.flatMap(([begins, isAnswered], number): Line[] => {
    const line: Line = { at: "loop", number, begins };
    return isAnswered ? [line, { at: "loop", number, answered: true }] : [line];
  });
}

const MADE = [{ op: "create", volume: "a", known: FS }, true] as const;

function settleAfter(lines: readonly Line[], found: Record<string, number | null>) {
  return Object.fromEntries(settle(readLedger(lines, "loop"), new Map(Object.entries(found))));
}

test("what was answered is there", () => {
  const written = [{ op: "write", volume: "a", sum: "x" }, true] as const;
  const cloned = [{ op: "clone", volume: "b", origin: "a" }, true] as const;
  const known = { ...FS, sum: "x" };
  expect(settleAfter(ledger(MADE, written, cloned), { a: 32, b: 32 })).toEqual({ a: known, b: known });
  expect(() => settleAfter(ledger(MADE), {})).toThrow("the volume a is lost");
});

test("what was not answered is there or not", () => {
  const clone = [{ op: "clone", volume: "b", origin: "a" }, false] as const;
  expect(settleAfter(ledger(MADE, clone), { a: 32 })).toEqual({ a: FS });
  expect(settleAfter(ledger(MADE, clone), { a: 32, b: 32 })).toEqual({ a: FS, b: FS });
  const drop = [{ op: "drop", volume: "a" }, false] as const;
  expect(settleAfter(ledger(MADE, drop), {})).toEqual({});
  expect(settleAfter(ledger(MADE, drop), { a: 32 })).toEqual({ a: FS });
});

test("what was dropped, or that nobody made, is not there", () => {
  const drop = [{ op: "drop", volume: "a" }, true] as const;
  expect(() => settleAfter(ledger(MADE, drop), { a: 32 })).toThrow("nobody made the volume a");
  expect(() => settleAfter([], { b: null })).toThrow("nobody made the volume b");
});

test("a size is the one before or the one after", () => {
  const resize = (isAnswered: boolean) => [{ op: "resize", volume: "a", sizeBytes: 64 }, isAnswered] as const;
  for (const size of [32, 64])
    expect(settleAfter(ledger(MADE, resize(false)), { a: size })).toEqual({ a: { ...FS, sizeBytes: size } });
  expect(() => settleAfter(ledger(MADE, resize(true)), { a: 32 })).toThrow("a has 32 bytes");
  expect(() => settleAfter(ledger(MADE, resize(false)), { a: 48 })).toThrow("a has 48 bytes");
});

test("data that was being written is not known", () => {
  const write = (sum: string, isAnswered: boolean) =>
    [{ op: "write", volume: "a", sum }, isAnswered] as const;
  expect(settleAfter(ledger(MADE, write("x", true), write("y", false)), { a: 32 })).toEqual({ a: FS });
});

test("what was found is where the next ledger begins, for each mosaic", () => {
  const lines: Line[] = [...ledger(MADE), { at: "loop", found: [["c", FS]] }, { at: "btrfs", found: [] }];
  expect(settleAfter(lines, { c: 32 })).toEqual({ c: FS });
});
