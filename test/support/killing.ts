import { expect } from "bun:test";
import { mkdirSync, readdirSync, renameSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import type { ActionName } from "../../src/api/actions.ts";
import { run } from "./beds.ts";

const TIMEOUT_MS = 120_000;

/**
 * Runs one action in a process that is killed before or after a step: its number, or a regular expression for its text.
 * False when it has no such step, and came to its end.
 */
export function killAtStep(
  config: string,
  mode: "kill-before" | "kill-after",
  step: number | RegExp,
  action: ActionName,
  values: object,
): boolean {
  const which = typeof step === "number" ? String(step) : step.source;
  const argv = [process.execPath, compileChild(), config, mode, which, action, JSON.stringify(values)];
  const child = Bun.spawnSync(argv, { timeout: TIMEOUT_MS });
  if (child.exitCode === 0) return false;
  expect([child.signalCode ?? null, child.stderr.toString()]).toEqual(["SIGKILL", ""]);
  return true;
}

let compiled: string | undefined;

/** The program, compiled, and kept with what the tools keep: on an emulated processor it starts in half the time. */
function compileChild(): string {
  if (compiled) return compiled;
  const cache = join(import.meta.dir, "../../node_modules/.cache/faultchild");
  const made = `${cache}.${process.pid}`;
  const options = ["--target=bun", "--format=cjs", "--bytecode", "--outdir", made];
  run(process.execPath, "build", join(import.meta.dir, "faultchild.ts"), ...options);
  mkdirSync(cache, { recursive: true });
  for (const file of readdirSync(made)) renameSync(join(made, file), join(cache, file));
  rmdirSync(made);
  compiled = join(cache, "faultchild.js");
  return compiled;
}
