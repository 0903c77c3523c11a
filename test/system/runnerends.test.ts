import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MosaicError } from "../../src/base/errors.ts";
import { tryLock } from "../../src/system/libc.ts";
import { runTool, startTool } from "../../src/system/runner.ts";
import { directSteps } from "../../src/system/steps.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";
import { until } from "../support/expect.ts";

const SLEEP = "exec sleep infinity";
const running = (...argv: string[]) => ["/", "-maxdepth", "0", "-exec", ...argv, ";"];

let directory = "";
const ends: (() => Promise<void>)[] = [];

beforeEach(() => {
  directory = makeTestDirectory("runnerends");
});

afterEach(async () => {
  await endAll();
  removeTestDirectory(directory);
});

async function endAll(): Promise<void> {
  for (const end of ends.splice(0)) await end();
}

/** Starts a tool with a shell below it, and waits until that shell is at work; gives the shell's pid. */
async function startShell(script: string, fds: readonly number[] = []): Promise<number> {
  const pidFile = join(directory, "started");
  const args = running("sh", "-c", `echo $$ >"$0"; ${script}`, pidFile);
  const tool = await startTool(directSteps, "find", args, fds);
  ends.push(() => tool.end());
  await until("the shell", () => existsSync(pidFile) && readFileSync(pidFile, "utf8").endsWith("\n"));
  return Number(readFileSync(pidFile, "utf8"));
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

describe("a tool that does not end in time", () => {
  /** Runs a shell below a tool with a short deadline; gives the shell's pid and the error. */
  async function overrun(script: string): Promise<{ pid: number; error: MosaicError }> {
    const pidFile = join(directory, "child");
    const args = running("sh", "-c", `echo $$ >"$0"; ${script}`, pidFile);
    const error = await runTool(directSteps, "find", args, { deadlineMs: 300 }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(MosaicError);
    return { pid: Number(readFileSync(pidFile, "utf8")), error };
  }

  test("is ended with its children", async () => {
    const { pid, error } = await overrun(SLEEP);
    expect(error).toMatchObject({
      code: "TOOL_FAILED",
      message: "find did not end in time: it was ended",
      details: { timedOut: true, signal: "SIGTERM" },
    });
    await until("the child to end", () => !isAlive(pid));
  });

  test("is ended with a child that ignores SIGTERM", async () => {
    const { pid, error } = await overrun('trap "" TERM; while :; do sleep 0.1; done');
    ends.push(async () => {
      if (isAlive(pid)) process.kill(-Number(error.details.pid), "SIGKILL");
    });
    expect(error.message).toBe("find did not end in time: it was ended");
    expect(isAlive(pid)).toBe(false);
  });
});

test("a tool that was started goes on until it is ended, with its children", async () => {
  const pid = await startShell(SLEEP);
  expect(isAlive(pid)).toBe(true);
  await endAll();
  await until("the child to end", () => !isAlive(pid));
});

describe("the lock of a descriptor", () => {
  let path = "";
  beforeEach(() => {
    path = join(directory, "locked");
    mkdirSync(path);
  });

  function canLock(): boolean {
    const fd = openSync(path, "r");
    try {
      return tryLock(fd);
    } finally {
      closeSync(fd);
    }
  }

  function takeLock(): number {
    const fd = openSync(path, "r");
    expect(tryLock(fd)).toBe(true);
    return fd;
  }

  test("is not held by a tool that did not get it", async () => {
    const fd = takeLock();
    const pid = await startShell(SLEEP);
    expect(canLock()).toBe(false);
    closeSync(fd);
    expect(canLock()).toBe(true);
    expect(isAlive(pid)).toBe(true);
  });

  test("is held by a tool that got it, and by its children, until they end", async () => {
    const fd = takeLock();
    const pid = await startShell(SLEEP, [fd]);
    closeSync(fd);
    expect(canLock()).toBe(false);
    expect(isAlive(pid)).toBe(true);
    await endAll();
    await until("the lock to go", canLock);
  });

  test("stays with us after tools have ended and their remains were collected", async () => {
    const fd = takeLock();
    const { ino } = fstatSync(fd);
    for (let round = 0; round < 10; round++) {
      await runTool(directSteps, "find", running("true"), { fds: [fd] });
      await startShell("true", [fd]);
      await endAll();
      Bun.gc(true);
      await Bun.sleep(0);
    }
    expect(fstatSync(fd).ino).toBe(ino);
    expect(canLock()).toBe(false);
    closeSync(fd);
    expect(canLock()).toBe(true);
  });
});

test("a program ends when it is done, however short ago a tool ended", () => {
  const source = join(import.meta.dir, "../../src/system");
  const code = `
    const { runTool } = await import("${source}/runner.ts");
    const { directSteps } = await import("${source}/steps.ts");
    await runTool(directSteps, "find", ["/", "-maxdepth", "0"]);
    const done = performance.now();
    process.on("exit", () => console.log(performance.now() - done));`;
  const child = Bun.spawnSync([process.execPath, "-e", code], { timeout: 20_000 });
  expect(Number(child.stdout.toString())).toBeLessThan(500);
});
