import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { ACTION_NAMES, actionOf } from "../../../src/api/actions.ts";
import { BEDS, type Bed, describeOnBed } from "../../support/beds.ts";
import { until } from "../../support/expect.ts";
import { clearBed, makeForeign } from "../../support/foreign.ts";
import { succeed } from "../moctl.ts";
import { Client, type Received } from "./client.ts";

// The actions as methods, on a real mosaic.

const SIZE = 16 * 1024 ** 2;

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));
  test("every action has its methods, and each works by its name", () => useEveryMethod(bed));
  test("a repeat is a success, what differs is an error", () => repeatCalls(bed));
  test("wrong params are found before anything is done", () => refuseParams(bed));
  test("calls on one volume are run in their order, however they are sent", () => keepOrder(bed));
  test("a call that is cancelled leaves nothing", () => cancelCreate(bed));
  test("a subscriber hears what other processes do", () => hearOthers(bed));
  test("a job outlives its server, which was killed, as interrupted", () => interruptJob(bed));
  test("a job is one for its id, and is waited for and dismissed", () => runJob(bed));
  test("a request key is one call", () => useRequestKey(bed));
  test("each call names its mosaic where the server has none", () => nameMosaic(bed));
});

function runDirectory(bed: Bed): string {
  return join(bed.directory, "run");
}

function connect(bed: Bed, args: readonly string[] = [bed.config, "rpc", "--selftest"]): Client {
  return new Client(args, runDirectory(bed));
}

function resultOf(answer: Received): Record<string, unknown> {
  expect(answer.error).toBeUndefined();
  return answer.result as Record<string, unknown>;
}

async function useEveryMethod(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const [mountPoint, place] = [bed.makeMountPoint(), bed.makeMountPoint()];
  const used = new Set<string>();
  const call = async (method: string, params?: object) => {
    used.add(method);
    return resultOf(await client.call(method, params));
  };
  expect(await call("volume.create", { volume: "web", kind: "fs", sizeBytes: SIZE })).toMatchObject({
    name: "web",
    created: true,
  });
  expect(await call("volume.clone", { origin: "web", volume: "copy" })).toMatchObject({
    name: "copy",
    created: true,
  });
  expect(await call("volume.mount", { volume: "web", mountPoint })).toEqual({
    volume: "web",
    mountPoint,
    readOnly: false,
    changed: true,
  });
  expect(await call("volume.attach", { volume: "web" })).toMatchObject({ volume: "web", changed: true });
  expect(await call("volume.list")).toMatchObject({
    volumes: [{ name: "copy" }, { name: "web", mountedAt: [mountPoint] }],
  });
  expect(await call("volume.info", { volume: "web" })).toMatchObject({
    clones: ["copy"],
    virtualBytes: SIZE,
  });
  expect(await call("volume.have", { volume: "web" })).toMatchObject({ exists: true });
  expect(await call("volume.umount", { volume: "web", mountPoint })).toEqual({
    volume: "web",
    mountPoint,
    changed: true,
  });
  expect(await call("volume.detach", { volume: "web" })).toEqual({ volume: "web", changed: true });
  expect(await call("volume.resize", { volume: "web", sizeBytes: 2 * SIZE })).toMatchObject({
    sizeBytes: 2 * SIZE,
  });
  expect(await call("mosaic.mount", { mountPoint: place })).toEqual({
    mountPoint: place,
    readOnly: false,
    changed: true,
  });
  expect(await call("mosaic.umount", { mountPoint: place })).toEqual({ mountPoint: place, changed: true });
  expect(await call("mosaic.info")).toMatchObject({ type: "loop", features: ["clone", "bdev", "volsize"] });
  expect(await call("mosaic.check")).toMatchObject({ problems: 0 });
  makeForeign(bed, "old");
  expect(await call("volume.adopt", { volume: "old", kind: "fs" })).toMatchObject({ name: "old" });
  expect(await call("mosaic.adopt", { list: resultOf(await client.call("volume.list")) })).toMatchObject({
    failed: [],
  });
  expect(await call("volume.drop", ["web"])).toEqual({ volume: "web", changed: true });
  expect([...used].sort()).toEqual(
    ACTION_NAMES.flatMap((name) => Object.keys(actionOf(name).methods)).sort(),
  );
  expect(await client.end()).toMatchObject({ exit: 0, stderr: "" });
}

async function repeatCalls(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const create = { volume: "web", kind: "fs", sizeBytes: SIZE };
  await client.call("volume.create", create);
  expect(resultOf(await client.call("volume.create", create))).toMatchObject({ created: false });
  const differs = await client.call("volume.create", { ...create, sizeBytes: 2 * SIZE });
  expect(differs.error).toMatchObject({
    code: 1006,
    data: { code: "ALREADY_EXISTS", details: { diff: { sizeBytes: { asked: 2 * SIZE, found: SIZE } } } },
  });
  expect(resultOf(await client.call("volume.drop", { volume: "web" }))).toMatchObject({ changed: true });
  expect(resultOf(await client.call("volume.drop", { volume: "web" }))).toMatchObject({ changed: false });
  makeForeign(bed, "alien");
  expect((await client.call("volume.drop", { volume: "alien" })).error).toMatchObject({
    code: 1005,
    data: { details: { reason: "foreign" } },
  });
}

async function refuseParams(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const rows: [object, string][] = [
    [{ volume: "web", kind: "fs", sizeBytes: SIZE, sizebytes: 1 }, "/sizebytes"],
    [{ volume: "web", kind: "fs", sizeBytes: "16M" }, "/sizeBytes"],
    [{ volume: "web", kind: "tree", sizeBytes: SIZE }, "/kind"],
    [{ kind: "fs", sizeBytes: SIZE }, "/volume"],
    [{ volume: "web", kind: "fs", sizeBytes: SIZE, _meta: { timeoutMs: "soon" } }, "/_meta/timeoutMs"],
    [{ volume: "web", kind: "fs", sizeBytes: SIZE, mosaic: "/nowhere.mos" }, ""],
  ];
  for (const [params, path] of rows) {
    const { error } = await client.call("volume.create", params);
    expect({ params, code: error?.code }).toEqual({ params, code: path === "" ? 1005 : -32602 });
    if (path !== "") expect(error?.data.details.path).toBe(path);
  }
  expect(resultOf(await client.call("volume.have", { volume: "web" }))).toMatchObject({ exists: false });
  expect(
    (await client.call("volume.have", { volume: "web", "x-trace": 1, mosaic: bed.config })).error,
  ).toBeUndefined();
}

async function keepOrder(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const calls = [
    ["volume.create", { volume: "web", kind: "fs", sizeBytes: SIZE }],
    ["volume.clone", { origin: "web", volume: "copy" }],
    ["volume.info", { volume: "copy" }],
    ["volume.drop", { volume: "web" }],
    ["volume.have", { volume: "web" }],
    ["volume.drop", { volume: "copy" }],
  ] as const;
  const ids = calls.map(([method, params]) => client.begin(method, params));
  const answers = new Map<unknown, Received>();
  while (answers.size < calls.length) {
    const answer = await client.receive();
    answers.set(answer.id, answer);
  }
  expect(ids.map((id) => answers.get(id)?.error)).toEqual(ids.map(() => undefined));
  expect(answers.get(ids[4])?.result).toMatchObject({ exists: false });
}

async function cancelCreate(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const id = client.begin("volume.create", { volume: "web", kind: "fs", sizeBytes: SIZE });
  client.notify("$/cancelRequest", { id });
  const answer = await client.receive();
  const exists = resultOf(await client.call("volume.have", { volume: "web" })).exists;
  expect(exists).toBe(answer.error === undefined);
  if (answer.error) expect(answer.error).toMatchObject({ code: 1001, data: { sideEffects: "none" } });
  expect(resultOf(await client.call("mosaic.check"))).toMatchObject({ problems: 0 });
}

async function hearOthers(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const { subscription, seq } = resultOf(
    await client.call("events.subscribe", { types: ["created", "dropped"] }),
  );
  const before = process.env.MOSAIC_RUN_DIR;
  process.env.MOSAIC_RUN_DIR = runDirectory(bed);
  try {
    succeed(bed.config, "create", "fs", "web", "16m");
    succeed(bed.config, "clone", "web", "copy");
    succeed(bed.config, "drop", "web");
  } finally {
    if (before === undefined) delete process.env.MOSAIC_RUN_DIR;
    else process.env.MOSAIC_RUN_DIR = before;
  }
  const events = [await client.receive(), await client.receive()];
  expect(events.map(({ method, params }) => ({ method, params }))).toMatchObject([
    {
      method: "$/event",
      params: { subscription, seq: Number(seq) + 1, type: "created", data: { volume: "web" } },
    },
    {
      method: "$/event",
      params: { subscription, seq: Number(seq) + 3, type: "dropped", data: { volume: "web" } },
    },
  ]);
  expect(resultOf(await client.call("events.subscribe", { since: Number(seq) + 2 }))).toMatchObject({
    subscription: "s2",
  });
  expect(await client.receive()).toMatchObject({ params: { subscription: "s2", type: "dropped" } });
  expect(resultOf(await client.call("events.unsubscribe", { subscription }))).toEqual({});
  expect((await client.call("events.unsubscribe", { subscription })).error).toMatchObject({ code: 1005 });
}

async function interruptJob(bed: Bed): Promise<void> {
  {
    await using client = connect(bed);
    await client.call("volume.create", { volume: "web", kind: "fs", sizeBytes: SIZE });
    await client.call("volume.mount", { volume: "web", mountPoint: bed.makeMountPoint() });
    // It waits for the sleep, which works on the same volume of the same mosaic.
    client.begin("sleep", { ms: 100_000, key: `${bed.config}:web` });
    const { job } = resultOf(
      await client.call("volume.drop", { volume: "web", _meta: { background: true, jobId: "j1" } }),
    );
    expect(job).toMatchObject({ id: "j1", kind: "volume.drop", state: "running" });
    client.child.kill("SIGKILL");
    await client.child.exited;
  }
  await using client = connect(bed);
  expect(resultOf(await client.call("job.get", { job: "j1" }))).toMatchObject({
    job: { state: "interrupted", params: { volume: "web" } },
  });
  expect(resultOf(await client.call("volume.have", { volume: "web" }))).toMatchObject({ exists: true });
  expect(resultOf(await client.call("job.dismiss", { job: "j1" }))).toEqual({});
}

async function runJob(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const params = {
    volume: "web",
    kind: "fs",
    sizeBytes: SIZE,
    _meta: { background: true, jobId: "make-web" },
  };
  const first = resultOf(await client.call("volume.create", params));
  expect(first).toMatchObject({ job: { id: "make-web", kind: "volume.create" } });
  expect(resultOf(await client.call("job.wait", { job: "make-web", timeoutMs: 30_000 }))).toMatchObject({
    job: { state: "done", result: { name: "web", created: true } },
  });
  expect(resultOf(await client.call("volume.create", params))).toMatchObject({ job: { state: "done" } });
  expect(
    (await client.call("volume.drop", { ...params, kind: undefined, sizeBytes: undefined })).error,
  ).toMatchObject({ code: 1006 });
  expect(resultOf(await client.call("job.list"))).toMatchObject({ jobs: [{ id: "make-web" }] });
  expect(resultOf(await client.call("job.dismiss", { job: "make-web" }))).toEqual({});
  expect((await client.call("job.get", { job: "make-web" })).error).toMatchObject({ code: 1005 });
}

async function useRequestKey(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const drop = { volume: "web", _meta: { requestKey: "drop web, once" } };
  await client.call("volume.create", { volume: "web", kind: "fs", sizeBytes: SIZE });
  expect(resultOf(await client.call("volume.drop", drop))).toMatchObject({ changed: true });
  await client.call("volume.create", { volume: "web", kind: "fs", sizeBytes: SIZE });
  // The same request: its outcome, and not another drop.
  expect(resultOf(await client.call("volume.drop", drop))).toMatchObject({ changed: true });
  expect(resultOf(await client.call("volume.have", { volume: "web" }))).toMatchObject({ exists: true });
  expect((await client.call("volume.drop", { ...drop, volume: "other" })).error).toMatchObject({
    code: 1006,
    data: { details: { reason: "request_key" } },
  });
}

async function nameMosaic(bed: Bed): Promise<void> {
  await using client = connect(bed, ["--rpc"]);
  expect((await client.call("volume.list")).error).toMatchObject({
    code: -32602,
    data: { details: { path: "/mosaic" } },
  });
  expect(resultOf(await client.call("volume.list", { mosaic: bed.config }))).toEqual({ volumes: [] });
  expect(resultOf(await client.call("server.info"))).toMatchObject({
    name: "moctl",
    framing: "ndjson",
    protocols: [1],
  });
  await until("the location to be given back", async () => {
    const { stdout } = Bun.spawnSync(["ls", "-l", `/proc/${client.child.pid}/fd`], { timeout: 10_000 });
    return !stdout.toString().includes(bed.location);
  });
}
