import { expect } from "bun:test";
import { mkdirSync, renameSync } from "node:fs";
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
  const argv = [process.execPath, bundleChild(), config, mode, which, action, JSON.stringify(values)];
  const child = Bun.spawnSync(argv, { timeout: TIMEOUT_MS });
  if (child.exitCode === 0) return false;
  expect([child.signalCode ?? null, child.stderr.toString()]).toEqual(["SIGKILL", ""]);
  return true;
}

let bundled: string | undefined;

/** The program as one file, kept with what the tools keep: on an emulated processor it starts in a third of the time. */
function bundleChild(): string {
  if (bundled) return bundled;
  const cache = join(import.meta.dir, "../../node_modules/.cache");
  const path = join(cache, "faultchild.js");
  const made = `${path}.${process.pid}`;
  mkdirSync(cache, { recursive: true });
  run(process.execPath, "build", "--target=bun", join(import.meta.dir, "faultchild.ts"), "--outfile", made);
  renameSync(made, path);
  bundled = path;
  return path;
}
