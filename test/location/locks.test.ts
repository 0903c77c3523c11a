import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync } from "node:fs";
import { join } from "node:path";
import { takeLock } from "../../src/location/locks.ts";
import { tryLock } from "../../src/system/libc.ts";
import { type Bed, describeOnBed } from "../support/beds.ts";

for (const filesystem of ["ext4", "btrfs"] as const)
  describeOnBed({ name: `locks on ${filesystem}`, backend: "plain", filesystem }, testLocks, 256 * 1024 ** 2);

function testLocks(bed: Bed): void {
  let directory = "";
  const fds: number[] = [];
  const pids: number[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(bed.location, "locked-"));
  });
  afterEach(() => {
    for (const pid of pids.splice(0)) process.kill(pid, "SIGKILL");
    for (const fd of fds.splice(0)) closeSync(fd);
  });

  function open(): number {
    const fd = openSync(directory, "r");
    fds.push(fd);
    return fd;
  }

  /** A shell that says the pid of the process that goes on until it is killed; gives that pid, and when the shell ends. */
  async function startShell(script: string, ...prefix: string[]) {
    const child = Bun.spawn([...prefix, "sh", "-c", script, directory], { stdout: "pipe" });
    const { value } = await child.stdout.getReader().read();
    const pid = Number(Buffer.from(value ?? []).toString());
    pids.push(pid);
    return { pid, ended: child.exited };
  }

  const start = async (script: string, ...prefix: string[]) => (await startShell(script, ...prefix)).pid;

  const startHolder = () => start("echo $$; exec sleep infinity", "flock", "--no-fork", directory);
  const take = (fd: number, timeoutMs: number, signal?: AbortSignal) =>
    takeLock(fd, directory, 'the volume "web"', timeoutMs, signal);

  test("a free lock is taken at once, also without any time to wait", async () => {
    await take(open(), 0);
    expect(tryLock(open())).toBe(false);
  });

  test("a lock that another process has is LOCKED with the pid of that one, and of no bystander", async () => {
    const holder = await startHolder();
    await start('cd "$0"; exec 9<"$0"; echo $$; exec sleep infinity');
    await expect(take(open(), 0)).rejects.toMatchObject({
      code: "LOCKED",
      message: `the volume "web" is locked: process ${holder} is at work on it, after 0 seconds still`,
      details: { pids: [holder] },
    });
  });

  test("a lock that a process has inherited is LOCKED with the pid of that one", async () => {
    const { pid: heir, ended } = await startShell(
      'exec 9<"$0"; flock 9; sleep infinity >/dev/null & echo $!',
    );
    // Until then the shell has the lock, too.
    await ended;
    await expect(take(open(), 0)).rejects.toMatchObject({ code: "LOCKED", details: { pids: [heir] } });
  });

  test("a lock that becomes free while it is waited for is taken", async () => {
    const holder = await startHolder();
    const taken = take(open(), 60_000);
    process.kill(holder, "SIGKILL");
    pids.length = 0;
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
}
