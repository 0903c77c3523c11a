import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../support/beds.ts";
import { until } from "../../support/expect.ts";
import { MOCTL } from "../moctl.ts";

// Servers in lines of shell, for tests of what their streams are connected with.

/** A FIFO that somebody has open to read, so that it can be written, and that nobody reads. */
export function makeFifo(directory: string, name: string) {
  const path = join(directory, name);
  run("mkfifo", path);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { path, [Symbol.dispose]: () => closeSync(fd) };
}

/** Runs a line of shell in a process group of its own, with moctl as $0; all of it ends with the scope. */
export function startShell(line: string, args: readonly string[] = [], env = process.env) {
  const child = Bun.spawn(["bash", "-c", line, MOCTL, ...args], {
    env,
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    timeout: 60_000,
  });
  const end = async () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    await child.exited;
  };
  return { child, [Symbol.asyncDispose]: end };
}

/** The server that a shell started. */
export async function findServer(parent: number): Promise<number> {
  let found = "";
  await until("the server", () => {
    const argv = ["pgrep", "-P", String(parent), "-x", "moctl"];
    found = Bun.spawnSync(argv, { timeout: 10_000 }).stdout.toString().trim();
    return found !== "";
  });
  return Number(found);
}

/** Waits until a process reads no more. */
export async function untilStalled(pid: number): Promise<void> {
  let [last, same] = ["", 0];
  await until("the end of the reading", () => {
    const now = /^rchar: \d+$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[0] ?? "";
    same = now === last ? same + 1 : 0;
    last = now;
    return same >= 25;
  });
}
