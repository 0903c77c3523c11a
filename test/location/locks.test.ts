import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { takeLock } from "../../src/location/locks.ts";
import { tryLock } from "../../src/system/libc.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

let directory = "";
const fds: number[] = [];
const children: Bun.Subprocess[] = [];

beforeEach(() => {
  directory = makeTestDirectory("locks");
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  for (const fd of fds.splice(0)) closeSync(fd);
  removeTestDirectory(directory);
});

function open(): number {
  const fd = openSync(directory, "r");
  fds.push(fd);
  return fd;
}

/** Another process that has the lock until it is killed. */
async function startHolder(): Promise<Bun.Subprocess> {
  const argv = ["flock", "--no-fork", directory, "sh", "-c", "echo ready; exec sleep infinity"];
  const child = Bun.spawn(argv, { stdout: "pipe" });
  children.push(child);
  await child.stdout.getReader().read();
  return child;
}

const take = (fd: number, timeoutMs: number, signal?: AbortSignal) =>
  takeLock(fd, directory, 'the volume "web"', timeoutMs, signal);

test("a free lock is taken at once, also without any time to wait", async () => {
  await take(open(), 0);
  expect(tryLock(open())).toBe(false);
});

test("a lock that another process has is LOCKED with the pid of that process", async () => {
  const holder = await startHolder();
  await expect(take(open(), 0)).rejects.toMatchObject({
    code: "LOCKED",
    message: `the volume "web" is locked: process ${holder.pid} is at work on it, after 0 seconds still`,
    details: { pids: [holder.pid] },
  });
});

test("a lock that becomes free while it is waited for is taken", async () => {
  const holder = await startHolder();
  const fd = open();
  const taken = take(fd, 60_000);
  holder.kill("SIGKILL");
  await taken;
  expect(tryLock(open())).toBe(false);
});

test("waiting ends when it is cancelled, with the reason", async () => {
  await startHolder();
  const controller = new AbortController();
  const waiting = take(open(), 600_000, controller.signal);
  controller.abort(new Error("stopped by the user"));
  await expect(waiting).rejects.toThrow("stopped by the user");
});
