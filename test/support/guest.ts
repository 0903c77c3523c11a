import { describe } from "bun:test";

/** Runs `tests` in the virtual machine of scripts/guest only: on the host they are no tests, they belong to another run. */
export function describeInGuest(name: string, tests: () => void): void {
  if (process.env.MOSAIC_TIER === "guest") describe(name, tests);
}
