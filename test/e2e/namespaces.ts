import { MOCTL } from "./moctl.ts";
import { type Ended, runProgram, startProgram } from "./program.ts";

// Mount namespaces of a test's own: what is mounted there touches nothing of the host.

/** Runs moctl in a new private mount namespace, after a line of shell that changes it. */
export function insideNamespace(setup: string, args: readonly string[]): Ended {
  return runProgram(commandInside(setup, args));
}

/** As `insideNamespace`, without waiting for its end. */
export function startInNamespace(setup: string, args: readonly string[]) {
  return startProgram(commandInside(setup, args));
}

function commandInside(setup: string, args: readonly string[]): string[] {
  return ["unshare", "--mount", "sh", "-e", "-c", `${setup}\nexec "$@"`, "sh", MOCTL, ...args];
}
