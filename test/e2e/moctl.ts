import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Bed } from "../support/beds.ts";
import { needsSize } from "../support/beds.ts";
import { type Picture, takePicture } from "./picture.ts";
import { type Ended, type RunSettings, runProgram, startProgram } from "./program.ts";

// The built program and what every test asks of it.

/** The program under test. */
export const MOCTL = process.env.MOCTL_BINARY ?? join(import.meta.dir, "../../dist/moctl");
if (!existsSync(MOCTL)) throw new Error(`${MOCTL} is not built: run scripts/build`);

/** Runs moctl to its end. */
export function moctl(args: readonly string[], settings: RunSettings = {}): Ended {
  return runProgram([MOCTL, ...args], settings);
}

/** Starts moctl; `ended` is how it ends. */
export function startMoctl(args: readonly string[]) {
  return startProgram([MOCTL, ...args]);
}

/** Runs moctl, which must succeed without a word on standard error; gives its output. */
export function succeed(...args: readonly string[]): string {
  const { stdout, ...ended } = moctl(args);
  expect({ args, ...ended }).toEqual({ args, exit: 0, stderr: "" });
  return stdout;
}

/** Makes a small volume of kind fs. Where its size is not enforced it has none, so that nothing is noted. */
export function createFs(bed: Bed, name: string, action = "create"): void {
  const size = needsSize(bed.row) ? ["16m"] : [];
  expect(succeed(bed.config, action, "fs", name, ...size)).toBe("");
}

/** Runs moctl with --json, which must succeed; gives its one object. */
export function succeedJson(...args: readonly string[]): Record<string, unknown> {
  return parseOneObject(succeed(...args, "--json"));
}

/** The one JSON object in one line of text. */
export function parseOneObject(text: string): Record<string, unknown> {
  expect(text).toMatch(/^\{.*\}\n$/);
  return JSON.parse(text) as Record<string, unknown>;
}

/** What a refusal must be. */
export interface Refusal {
  readonly exit: number;
  readonly code: string;
  /** What the message says. */
  readonly says?: string | RegExp;
  /** False where files may have been touched all the same: see `takePicture`. */
  readonly times?: boolean;
}

/** An error as --json prints it. */
export interface PrintedError {
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/**
 * Runs moctl twice, for people and for programs; both times it must refuse with the same exit code and one message,
 * and change nothing in `directory`. Gives the error.
 */
export function expectRefusal(
  directory: string,
  args: readonly string[],
  refusal: Refusal,
  settings: RunSettings = {},
): PrintedError {
  return expectRefusalOf((more) => moctl([...more, ...args], settings), directory, refusal, args);
}

/** As `expectRefusal`, of a program that runs moctl with more options in front. */
export function expectRefusalOf(
  run: (more: readonly string[]) => Ended,
  directory: string,
  refusal: Refusal,
  args: readonly string[] = [],
): PrintedError {
  const before = takePicture(directory, refusal.times);
  const error = requireRefusal(run, refusal, args);
  expectSame(directory, before, refusal.times);
  return error;
}

/** As `expectRefusalOf`, without a look at what has changed. */
export function requireRefusal(
  run: (more: readonly string[]) => Ended,
  refusal: Refusal,
  args: readonly string[] = [],
): PrintedError {
  const people = run([]);
  const { exit, stdout, stderr } = run(["--json"]);
  expect({ args, people, exit, stdout }).toMatchObject({
    args,
    people: { exit: refusal.exit, stdout: "" },
    exit: refusal.exit,
    stdout: "",
  });
  expectOneMessage(people.stderr);
  const { error } = parseOneObject(stderr) as unknown as { error: PrintedError };
  expect({ args, code: error.code }).toEqual({ args, code: refusal.code });
  for (const text of refusal.says === undefined ? [] : [people.stderr, error.message])
    expect(text).toMatch(refusal.says as string);
  return error;
}

/** Checks that the text is one message for people: no stack, no second message. */
export function expectOneMessage(stderr: string): void {
  expect(stderr).toMatch(/^moctl: [^\n]+\n(?: {2}[\d ]+ \| .*\n){0,2}$/);
  expect(stderr).not.toMatch(/^\s+at /m);
}

/** Checks that nothing has changed in a directory since the picture was taken. */
export function expectSame(directory: string, before: Picture, times?: boolean): void {
  expect(takePicture(directory, times)).toEqual(before);
}
