import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed } from "../../support/beds.ts";
import { clearBed } from "../../support/foreign.ts";
import { Client, type Received } from "./client.ts";

// The conformance cases of calls on real storage: their order, how they are stopped, and what they leave.

const SIZE = 16 * 1024 ** 2;
const WEB = { volume: "web", kind: "fs", sizeBytes: SIZE };

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));
  const open = () => new Client([bed.config, "rpc", "--selftest"], join(bed.directory, "run"));
  test("case 20: wrong params are found before anything is done", () => refuseParams(open()));
  test("case 34: calls on one volume are run in their order", () => keepOrder(open()));
  test("case 35: a cancelled call is answered once, and the volume is as the answer says", () =>
    cancelCalls(bed, open()));
  test("case 36: a job is told of, waited for and begun once; one whose server is killed is interrupted", () =>
    runJobs(bed, open));
  test("case 40: create twice, drop twice", () => repeatCalls(open()));
});

async function exists(client: Client, volume = "web"): Promise<boolean> {
  return ((await client.call("volume.have", { volume })).result as { exists: boolean }).exists;
}

async function refuseParams(opened: Client): Promise<void> {
  await using client = opened;
  for (const [params, path] of [
    [{ ...WEB, sizebytes: 1 }, "/sizebytes"],
    [{ ...WEB, sizeBytes: "16M" }, "/sizeBytes"],
    [{ ...WEB, sizeBytes: 1.5 }, "/sizeBytes"],
    [{ ...WEB, volume: 5 }, "/volume"],
    [{ ...WEB, kind: null }, "/kind"],
    [{ ...WEB, _meta: { dryRun: 1 } }, "/_meta/dryRun"],
    [["fs", "web", "16M"], "/sizeBytes"],
  ] as const) {
    const { error } = await client.call("volume.create", params);
    expect({ params, code: error?.code, path: error?.data.details.path }).toEqual({
      params,
      code: -32602,
      path,
    });
  }
  expect(await exists(client)).toBe(false);
}

async function keepOrder(opened: Client): Promise<void> {
  await using client = opened;
  const calls: number[] = [];
  for (let round = 0; round < 3; round++)
    for (const method of ["volume.create", "volume.have", "volume.drop", "volume.have"])
      calls.push(client.begin(method, method === "volume.create" ? WEB : { volume: "web" }));
  const answers: Received[] = [];
  while (answers.length < calls.length) answers.push(await client.receive());
  expect(answers.map(({ id }) => id)).toEqual(calls);
  expect(answers.map(({ result }) => result)).toMatchObject(
    [0, 1, 2].flatMap(() => [{ created: true }, { exists: true }, { changed: true }, { exists: false }]),
  );
}

async function cancelCalls(bed: Bed, opened: Client): Promise<void> {
  await using client = opened;
  const create = { ...WEB, _meta: { progressToken: "t" } };
  for (const method of ["$/cancelRequest", "notifications/cancelled"]) {
    const cancel = (id: unknown) => client.notify(method, { id, requestId: id });
    const check = async (answer: Received, mayBeDone: boolean) => {
      if (!mayBeDone || answer.error)
        expect(answer.error).toMatchObject({ code: 1001, data: { sideEffects: "none" } });
      expect(await exists(client)).toBe(answer.error === undefined);
      await client.call("volume.drop", { volume: "web" });
    };

    // It waits for the sleep, which works on the same volume of the same mosaic.
    const slow = client.begin("sleep", { ms: 100_000, key: `${bed.config}:web` });
    const queued = client.begin("volume.create", create);
    cancel(queued);
    const answer = await receiveAnswer(client, queued);
    cancel(slow);
    expect(await receiveAnswer(client, slow)).toMatchObject({ error: { code: 1001 } });
    await check(answer, false);

    const running = client.begin("volume.create", create);
    expect(await client.receive()).toMatchObject({ method: "$/progress" });
    cancel(running);
    await check(await receiveAnswer(client, running), true);

    const finished = client.begin("volume.create", WEB);
    const done = await receiveAnswer(client, finished);
    expect(done.error).toBeUndefined();
    cancel(finished);
    cancel("unknown");
    await check(done, true);
  }
  expect((await client.call("mosaic.check")).result).toMatchObject({ problems: 0 });
  expect(await client.end()).toMatchObject({ exit: 0, rest: [] });
}

async function receiveAnswer(client: Client, id: number): Promise<Received> {
  for (;;) {
    const message = await client.receive();
    if (message.id === id) return message;
    expect(message.method).toBe("$/progress");
  }
}

async function runJobs(bed: Bed, connect: () => Client): Promise<void> {
  {
    await using client = connect();
    const { subscription } = (await client.call("events.subscribe")).result as { subscription: string };
    const job = { ...WEB, _meta: { background: true, jobId: "make-web" } };
    const [first, second] = [
      await client.call("volume.create", job),
      await client.call("volume.create", job),
    ];
    for (const { result } of [first, second])
      expect(result).toMatchObject({ job: { id: "make-web", kind: "volume.create" } });
    const waited = client.begin("job.wait", { job: "make-web", timeoutMs: 30_000 });
    const messages = [await client.receive(), await client.receive()];
    expect(messages.find(({ id }) => id === waited)?.result).toMatchObject({
      job: { state: "done", result: { name: "web", created: true } },
    });
    expect(messages.find(({ method }) => method === "$/event")?.params).toMatchObject({
      subscription,
      type: "created",
      data: { volume: "web" },
    });
    client.begin("sleep", { ms: 100_000, key: `${bed.config}:web` });
    await client.call("volume.drop", { volume: "web", _meta: { background: true, jobId: "drop-web" } });
    client.child.kill("SIGKILL");
    await client.child.exited;
  }
  await using client = connect();
  const { jobs } = (await client.call("job.list")).result as { jobs: { id: string; state: string }[] };
  expect(jobs.map(({ id, state }) => [id, state])).toEqual([
    ["make-web", "done"],
    ["drop-web", "interrupted"],
  ]);
  expect(await exists(client)).toBe(true);
}

async function repeatCalls(opened: Client): Promise<void> {
  await using client = opened;
  const results = [];
  for (const [method, params] of [
    ["volume.create", WEB],
    ["volume.create", WEB],
    ["volume.create", { ...WEB, sizeBytes: 2 * SIZE }],
    ["volume.drop", { volume: "web" }],
    ["volume.drop", { volume: "web" }],
  ] as const) {
    const { result, error } = await client.call(method, params);
    results.push(error ? error.code : result);
  }
  expect(results).toMatchObject([
    { created: true },
    { created: false },
    1006,
    { changed: true },
    { changed: false },
  ]);
}
