import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FREEZE_LIMIT_SECONDS, whileFrozen } from "../../src/filesystems/freeze.ts";
import { tryLock } from "../../src/system/libc.ts";
import { listProcesses } from "../../src/system/mounts.ts";
import { directSteps, loggedSteps, plannedSteps } from "../../src/system/steps.ts";
import { startWatchdog } from "../../src/system/watchdog.ts";
import { type Bed, describeOnBed } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { FaultySteps } from "../support/faults.ts";

const SOURCE = join(import.meta.dir, "../../src");

for (const filesystem of ["ext4", "xfs", "btrfs"] as const)
  describeOnBed(
    { name: `freezing ${filesystem}`, backend: "loop", filesystem },
    testFreezing,
    320 * 1024 ** 2,
  );

function testFreezing(bed: Bed): void {
  const lockPath = join(bed.directory, "lock");
  const fds: number[] = [];
  const children: Bun.Subprocess[] = [];
  let count = 0;
  let lock = { path: lockPath, fd: -1 };
  let mountFd = -1;

  beforeEach(() => {
    mkdirSync(lockPath, { recursive: true });
    lock = { path: lockPath, fd: openSync(lockPath, "r") };
    mountFd = openSync(bed.location, "r");
    fds.push(lock.fd, mountFd);
    expect(tryLock(lock.fd)).toBe(true);
  });

  afterEach(async () => {
    Bun.spawnSync(["fsfreeze", "--unfreeze", bed.location], { stderr: "ignore", timeout: 20_000 });
    for (const child of children.splice(0)) child.kill("SIGKILL");
    for (const fd of fds.splice(0)) closeSync(fd);
    await until("the watchdog to end", () => findWatchdogs().length === 0);
    rmSync(lockPath, { recursive: true });
  });

  const freeze = (action: () => Promise<void>) => whileFrozen(directSteps, mountFd, lock, action);

  /** The processes that wait for the lock. */
  function findWatchdogs(): number[] {
    return listProcesses().filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(`${lockPath}/.`);
      } catch {
        return false;
      }
    });
  }

  /** Starts a process that writes a file; gives the file and the process. */
  function startWriter(): { path: string; child: Bun.Subprocess } {
    const path = join(bed.location, `written-${count++}`);
    const child = Bun.spawn(["sh", "-c", 'echo written >"$0"', path]);
    children.push(child);
    return { path, child };
  }

  const stateOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.[0];

  /** A writer that the kernel makes wait, until it is thawed. */
  async function startBlockedWriter() {
    const writer = startWriter();
    await until("the writer to be blocked", () => stateOf(writer.child.pid) === "D");
    expect(existsSync(writer.path)).toBe(false);
    return writer;
  }

  async function expectThawed(): Promise<void> {
    const { path, child } = startWriter();
    expect(await child.exited).toBe(0);
    expect(readFileSync(path, "utf8")).toBe("written\n");
  }

  /** It is killed with its child, which may take a moment longer to end, and does not come to the end of its patience. */
  async function expectWatchdogEnd(): Promise<void> {
    const start = performance.now();
    await until("the end of the watchdog", () => findWatchdogs().length === 0);
    expect(performance.now() - start).toBeLessThan((FREEZE_LIMIT_SECONDS * 1000) / 4);
  }

  test("a writer is blocked inside, and goes on after it", async () => {
    let writer: Awaited<ReturnType<typeof startBlockedWriter>> | undefined;
    await freeze(async () => {
      writer = await startBlockedWriter();
    });
    expect(await writer?.child.exited).toBe(0);
    expect(readFileSync(writer?.path ?? "", "utf8")).toBe("written\n");
    await expectThawed();
    expect(findWatchdogs()).toEqual([]);
  });

  test("what was written before is on the disk inside", async () => {
    const { path, child } = startWriter();
    await child.exited;
    await freeze(async () => {
      expect(readFileSync(bed.image).includes(readFileSync(path))).toBe(true);
    });
  });

  test("it is thawed after an exception, which is passed on", async () => {
    const failure = new Error("the copy failed");
    let writer: Awaited<ReturnType<typeof startBlockedWriter>> | undefined;
    const frozen = freeze(async () => {
      writer = await startBlockedWriter();
      throw failure;
    });
    await expect(frozen).rejects.toBe(failure);
    expect(await writer?.child.exited).toBe(0);
    await expectThawed();
  });

  test("what thawed before its end is BUSY, so that no torn copy is taken for a good one", async () => {
    const frozen = freeze(async () => {
      Bun.spawnSync(["fsfreeze", "--unfreeze", bed.location], { timeout: 20_000 });
    });
    await expect(frozen).rejects.toMatchObject({
      code: "BUSY",
      message: expect.stringContaining("thawed before its copy was complete"),
    });
    await expectThawed();
    await expectWatchdogEnd();
  });

  test("a thaw that needs two tries ends the watchdog, too", async () => {
    const steps = new FaultySteps(/^fsfreeze --unfreeze/, "fail");
    await expect(whileFrozen(steps, mountFd, lock, async () => {})).rejects.toThrow("injected before");
    await expectThawed();
    await expectWatchdogEnd();
  });

  test("nothing is done when somebody else has frozen it", async () => {
    Bun.spawnSync(["fsfreeze", "--freeze", bed.location], { timeout: 20_000 });
    let isEntered = false;
    const frozen = freeze(async () => {
      isEntered = true;
    });
    await expect(frozen).rejects.toThrow("Device or resource busy");
    expect(isEntered).toBe(false);
    await startBlockedWriter();
  });

  test("what somebody else has frozen is not thawed when our lock goes", async () => {
    Bun.spawnSync(["fsfreeze", "--freeze", bed.location], { timeout: 20_000 });
    await expect(freeze(async () => {})).rejects.toThrow("Device or resource busy");
    const writer = await startBlockedWriter();
    for (const fd of fds.splice(0)) closeSync(fd);
    await until("the watchdog to end", () => findWatchdogs().length === 0);
    expect(existsSync(writer.path)).toBe(false);
    expect(stateOf(writer.child.pid)).toBe("D");
  });

  test("what somebody else has frozen is BUSY", async () => {
    Bun.spawnSync(["fsfreeze", "--freeze", bed.location], { timeout: 20_000 });
    await expect(freeze(async () => {})).rejects.toMatchObject({ code: "BUSY" });
  });

  test("after an exception no watchdog is left that could thaw what is frozen next", async () => {
    await expect(freeze(() => Promise.reject(new Error("the copy failed")))).rejects.toThrow(
      "the copy failed",
    );
    await expectWatchdogEnd();
  });

  test("the watchdog thaws at once when the process is killed inside", async () => {
    for (const fd of fds.splice(0)) closeSync(fd);
    const code = `
      const { openSync } = await import("node:fs");
      const { whileFrozen } = await import("${SOURCE}/filesystems/freeze.ts");
      const { tryLock } = await import("${SOURCE}/system/libc.ts");
      const { directSteps } = await import("${SOURCE}/system/steps.ts");
      const lock = { path: "${lockPath}", fd: openSync("${lockPath}", "r") };
      tryLock(lock.fd);
      await whileFrozen(directSteps, openSync("${bed.location}", "r"), lock, () => {
        console.log("frozen");
        return new Promise(() => setInterval(() => {}, 1e6));
      });`;
    const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
    children.push(child);
    const { value } = await child.stdout.getReader().read();
    expect(Buffer.from(value ?? []).toString()).toBe("frozen\n");
    const writer = await startBlockedWriter();
    const killed = performance.now();
    child.kill("SIGKILL");
    expect(await writer.child.exited).toBe(0);
    // Far from the limit: it was the end of the process that the watchdog saw, and not the end of its patience.
    expect(performance.now() - killed).toBeLessThan((FREEZE_LIMIT_SECONDS * 1000) / 4);
    await expectThawed();
  });

  test("the watchdog thaws, and makes nothing, when the directory of the lock is gone already", async () => {
    const gone = join(bed.directory, "gone");
    Bun.spawnSync(["fsfreeze", "--freeze", bed.location], { timeout: 20_000 });
    const writer = await startBlockedWriter();
    await startWatchdog(directSteps, gone, "fsfreeze", ["--unfreeze", "/proc/self/fd/3"], [mountFd]);
    expect(await writer.child.exited).toBe(0);
    expect(existsSync(gone)).toBe(false);
    await expectThawed();
  });

  test("it is a few steps, and none of them in a plan", async () => {
    const log: string[] = [];
    const steps = loggedSteps(directSteps, (text) => log.push(text));
    await whileFrozen(steps, mountFd, lock, async () => void log.push("action"));
    const thaw = "fsfreeze --unfreeze /proc/self/fd/3";
    expect(log).toEqual([
      expect.stringMatching(/^find .*flock --timeout 20 .*fsfreeze --unfreeze .* &$/),
      "fsfreeze --freeze /proc/self/fd/3",
      "action",
      thaw,
    ]);
    const planned: string[] = [];
    await whileFrozen(
      plannedSteps((text) => planned.push(text)),
      -1,
      lock,
      expectThawed,
    );
    expect(planned).toEqual(log.filter((text) => text !== "action"));
  });
}
