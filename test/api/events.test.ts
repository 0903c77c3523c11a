import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, chmodSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { appendEvent, type Event, eventFileOf, parseEvents } from "../../src/api/events.ts";
import { EventWatch, type Notice } from "../../src/api/eventwatch.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";
import { until } from "../support/expect.ts";

const directory = makeTestDirectory("events");
const before = process.env.MOSAIC_RUN_DIR;
let count = 0;
let identity = "";
let watch: EventWatch | undefined;

beforeEach(() => {
  process.env.MOSAIC_RUN_DIR = join(directory, `run${count++}`);
  identity = "7-256";
});
afterEach(() => {
  watch?.close();
  watch = undefined;
});
afterAll(() => {
  if (before === undefined) delete process.env.MOSAIC_RUN_DIR;
  else process.env.MOSAIC_RUN_DIR = before;
  removeTestDirectory(directory);
});

async function readEvents(): Promise<Event[]> {
  return parseEvents(await Bun.file(eventFileOf(identity)).text());
}

function startWatch(since?: number): Notice[] {
  const notices: Notice[] = [];
  watch = new EventWatch(identity, (notice) => notices.push(notice), since);
  return notices;
}

test("events are numbered from 1, and only root reads them", async () => {
  expect(await appendEvent(identity, "created", { volume: "web", id: "x" })).toBe(true);
  expect(await appendEvent(identity, "dropped", { volume: "web" })).toBe(true);
  const events = await readEvents();
  expect(events.map(({ seq, type, pid, data }) => ({ seq, type, pid, data }))).toEqual([
    { seq: 1, type: "created", pid: process.pid, data: { volume: "web", id: "x" } },
    { seq: 2, type: "dropped", pid: process.pid, data: { volume: "web" } },
  ]);
  expect(statSync(eventFileOf(identity)).mode & 0o777).toBe(0o600);
  expect(statSync(join(process.env.MOSAIC_RUN_DIR ?? "", identity)).mode & 0o777).toBe(0o700);
});

test("events that processes append side by side are all there, each with its own number", async () => {
  const source = join(import.meta.dir, "../../src/api/events.ts");
  const code = `import { appendEvent } from ${JSON.stringify(source)};
    for (let index = 0; index < 50; index++)
      if (!(await appendEvent("${identity}", "created", { index }))) process.exit(1);`;
  const children = Array.from({ length: 4 }, () =>
    Bun.spawn([process.execPath, "-e", code], { env: process.env, stdio: ["ignore", "inherit", "inherit"] }),
  );
  expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0, 0]);
  expect((await readEvents()).map(({ seq }) => seq)).toEqual(
    Array.from({ length: 200 }, (_, index) => index + 1),
  );
});

test("the file stays bounded, and a watch that keeps up misses nothing over its renewal", async () => {
  const notices = startWatch();
  const filler = "x".repeat(2000);
  for (let index = 0; index < 300; index++) {
    await appendEvent(identity, "created", { filler });
    watch?.look();
  }
  expect(statSync(eventFileOf(identity)).size).toBeLessThan(256 * 1024);
  expect(existsSync(`${eventFileOf(identity)}.old`)).toBe(true);
  expect(notices.map((notice) => notice.kind === "event" && notice.event.seq)).toEqual(
    Array.from({ length: 300 }, (_, index) => index + 1),
  );
});

test("a watch that falls behind is told what it lost", async () => {
  await appendEvent(identity, "created", {});
  const notices = startWatch(1);
  watch?.close();
  const filler = "x".repeat(2000);
  for (let index = 0; index < 400; index++) await appendEvent(identity, "created", { filler });
  watch?.look();
  const [lost, ...events] = notices;
  const [first] = events;
  if (lost?.kind !== "lost" || first?.kind !== "event") throw new Error("nothing was lost");
  expect(lost.from).toBe(2);
  expect(first.event.seq).toBe(lost.to + 1);
  expect(watch?.seq).toBe(401);
});

test("a watch tells by itself what another process does", async () => {
  const notices = startWatch();
  await appendEvent(identity, "mounted", { volume: "web" });
  await until("the event", () => notices.length === 1);
  expect(notices[0]).toMatchObject({ kind: "event", event: { seq: 1, type: "mounted" } });
});

test("a watch begins where it is told: after what is there, or after a number", async () => {
  for (const type of ["created", "attached", "detached"] as const) await appendEvent(identity, type, {});
  expect(startWatch()).toEqual([]);
  watch?.close();
  expect(startWatch(1).map((notice) => notice.kind === "event" && notice.event.type)).toEqual([
    "attached",
    "detached",
  ]);
});

describe("an event that cannot be written is no failure:", () => {
  test.each<[string, (path: string) => void]>([
    [
      "a run directory that others may write",
      (path) => {
        mkdirSync(path);
        chmodSync(path, 0o777);
      },
    ],
    ["a file in the place of the directory", (path) => writeFileSync(path, "")],
  ])("%s", async (_what, make) => {
    make(process.env.MOSAIC_RUN_DIR ?? "");
    expect(await appendEvent(identity, "created", {})).toBe(false);
  });
});

test("a line that is no event is left out, and the numbers go on", async () => {
  await appendEvent(identity, "created", {});
  appendFileSync(eventFileOf(identity), "junk\n{}\n");
  await appendEvent(identity, "dropped", {});
  expect((await readEvents()).map(({ seq }) => seq)).toEqual([1, 2]);
  rmSync(eventFileOf(identity));
  await appendEvent(identity, "created", {});
  expect((await readEvents()).map(({ seq }) => seq)).toEqual([1]);
});
