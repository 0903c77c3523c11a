import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Job, JobStore, type OpenJob } from "../../src/api/jobs.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";

const directory = makeTestDirectory("jobs");
const before = process.env.MOSAIC_RUN_DIR;
let count = 0;
let store: JobStore;

beforeEach(() => {
  process.env.MOSAIC_RUN_DIR = join(directory, `run${count++}`);
  store = new JobStore("7-256");
});
afterAll(() => {
  if (before === undefined) delete process.env.MOSAIC_RUN_DIR;
  else process.env.MOSAIC_RUN_DIR = before;
  removeTestDirectory(directory);
});

function makeJob(id: string, change: Partial<Job> = {}): Job {
  const time = new Date().toISOString();
  return {
    id,
    kind: "volume.create",
    state: "running",
    progress: null,
    cancellable: true,
    createdAt: time,
    updatedAt: time,
    pid: process.pid,
    params: { volume: "web" },
    result: null,
    error: null,
    ...change,
  };
}

function begin(id: string, change?: Partial<Job>): OpenJob {
  const job = store.begin(makeJob(id, change));
  if (!job) throw new Error(`the job ${id} was there`);
  return job;
}

test("a job is found by its id from its begin to its end, and after", () => {
  const open = begin("one");
  expect(store.get("one")).toEqual(open.job);
  open.update({ progress: 0.5 });
  expect(store.get("one")).toMatchObject({ state: "running", progress: 0.5 });
  open.update({ state: "done", result: { name: "web" } });
  expect(new JobStore("7-256").get("one")).toMatchObject({ state: "done", result: { name: "web" } });
});

test("an id is one job: a second begin finds the first", () => {
  const open = begin("one");
  expect(store.begin(makeJob("one"))).toBeUndefined();
  open.update({ state: "failed", error: { code: "BUSY" } });
  expect(store.begin(makeJob("one"))).toBeUndefined();
});

test("a job whose process was killed is interrupted, and stays so", async () => {
  const source = join(import.meta.dir, "../../src/api/jobs.ts");
  const code = `import { JobStore } from ${JSON.stringify(source)};
    new JobStore("7-256").begin(${JSON.stringify(makeJob("lost"))});
    process.kill(process.pid, "SIGKILL");`;
  const child = Bun.spawn([process.execPath, "-e", code], { env: process.env, stderr: "inherit" });
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  expect(store.get("lost")).toMatchObject({ id: "lost", state: "interrupted", params: { volume: "web" } });
  expect(store.list().map(({ state }) => state)).toEqual(["interrupted"]);
});

test("a job of another process that lives is what it says", async () => {
  const source = join(import.meta.dir, "../../src/api/jobs.ts");
  const code = `import { JobStore } from ${JSON.stringify(source)};
    const open = new JobStore("7-256").begin(${JSON.stringify(makeJob("other"))});
    console.log("begun");
    await Bun.stdin.text();
    open.update({ state: "done", result: {} });`;
  const child = Bun.spawn([process.execPath, "-e", code], {
    env: process.env,
    stdin: "pipe",
    stdout: "pipe",
  });
  const reader = child.stdout.getReader();
  await reader.read();
  expect(store.get("other").state).toBe("running");
  await expectError("BUSY", () => store.dismiss("other"));
  child.stdin.end();
  expect(await child.exited).toBe(0);
  expect(store.get("other").state).toBe("done");
});

test("a job that has ended is dismissed", async () => {
  begin("new").update({ state: "done" });
  store.dismiss("new");
  await expectError("NOT_FOUND", () => store.get("new"));
});

/** Leaves a job as another process may have left it, with the age of its last change. */
function leave(id: string, hours: number, state?: Job["state"]): void {
  const path = join(process.env.MOSAIC_RUN_DIR ?? "", "7-256/jobs", id);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (state) writeFileSync(join(path, "state"), JSON.stringify(makeJob(id, { state })));
  const time = Date.now() / 1000 - hours * 3600;
  utimesSync(state ? join(path, "state") : path, time, time);
}

test("what has ended is forgotten after a day, and so is what was never begun or whose process died", () => {
  leave("ended", 25, "done");
  leave("begun", 25);
  leave("died", 25, "running");
  leave("young", 23, "failed");
  const own = begin("own");
  expect(
    store
      .list()
      .map(({ id }) => id)
      .sort(),
  ).toEqual(["own", "young"]);
  expect(readdirSync(join(process.env.MOSAIC_RUN_DIR ?? "", "7-256/jobs")).sort()).toEqual(["own", "young"]);
  own.update({ state: "done" });
});

test("a job that was never begun, because its process died, is begun by the next", () => {
  leave("lost", 0);
  begin("lost").update({ state: "done" });
  expect(store.get("lost").state).toBe("done");
});

test("of too many the oldest go, but not one that runs", () => {
  const bounded = new JobStore("7-256", "jobs", 20);
  const running = bounded.begin(makeJob("running"));
  for (let number = 0; number < 100; number++)
    bounded.begin(makeJob(`j${number}`))?.update({ state: "done" });
  const ids = new Set(bounded.list().map(({ id }) => id));
  expect(ids.size).toBeLessThanOrEqual(21);
  expect(ids.size).toBeGreaterThanOrEqual(18);
  for (const id of ["running", "j99", "j90", "j83"]) expect(ids).toContain(id);
  running?.update({ state: "done" });
});

test("a begin reads no more where there are many jobs", () => {
  const readsOf = (action: () => void) => {
    const count = () => Number(/^syscr: (\d+)$/m.exec(readFileSync("/proc/thread-self/io", "utf8"))?.[1]);
    const start = count();
    action();
    return count() - start;
  };
  const beginSome = (prefix: string) => () => {
    for (let number = 0; number < 20; number++) begin(`${prefix}${number}`).update({ state: "done" });
  };
  begin("first").update({ state: "done" });
  const few = readsOf(beginSome("few"));
  for (let number = 0; number < 500; number++) leave(`left${number}`, 1, "done");
  const many = readsOf(beginSome("many"));
  expect(readsOf(() => store.list())).toBeGreaterThan(500);
  expect(many).toBeLessThan(few + 20);
});

test.each(["", ".", "..", "../x", "a/b", "-x", "a b", "x".repeat(129), "a\nb"])("%j is no id", async (id) => {
  await expectError("INVALID_ARGUMENT", () => store.begin(makeJob(id)));
  await expectError("INVALID_ARGUMENT", () => store.get(id));
});
