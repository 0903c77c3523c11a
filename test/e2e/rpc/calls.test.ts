import { expect, test } from "bun:test";
import { Client } from "./client.ts";
import { SELFTEST } from "./wire.ts";

// The conformance cases of calls that are at work together.

test("case 21: an id in flight is not taken twice, and disturbs nothing", async () => {
  await using client = new Client(SELFTEST);
  const sleep = '{"jsonrpc":"2.0","method":"sleep","params":{"ms":300},"id":"x"}\n';
  client.send(sleep + sleep);
  expect(await client.receive()).toMatchObject({
    id: null,
    error: { code: -32600, data: { details: { reason: "duplicate_id", duplicateId: "x" } } },
  });
  expect(await client.receive()).toEqual({ jsonrpc: "2.0", id: "x", result: {} });
  client.send(sleep);
  expect(await client.receive()).toEqual({ jsonrpc: "2.0", id: "x", result: {} });
});

test("case 34: a quick call overtakes a slow one, one on the same thing does not, and a ping waits for nobody", async () => {
  await using client = new Client(SELFTEST);
  const slow = client.begin("sleep", { ms: 100_000, key: "web" });
  const next = client.begin("sleep", { ms: 0, key: "web" });
  const other = client.begin("sleep", { ms: 0, key: "db" });
  expect((await client.receive()).id).toBe(other);
  const begin = performance.now();
  for (let count = 0; count < 20; count++) await client.call("server.ping");
  expect((performance.now() - begin) / 20).toBeLessThan(50);
  client.notify("$/cancelRequest", { id: slow });
  expect([(await client.receive()).id, (await client.receive()).id]).toEqual([slow, next]);
});

test("case 36: progress is only where a token is, rises, is no more than ten a second, and ends before the answer", async () => {
  await using client = new Client(SELFTEST);
  const begin = performance.now();
  const id = client.begin("sleep", { ms: 600, _meta: { progressToken: 7 } });
  client.begin("sleep", { ms: 500 });
  const values: number[] = [];
  for (let message = await client.receive(); message.id !== id; message = await client.receive()) {
    if (message.id !== undefined) continue;
    expect(message).toMatchObject({ method: "$/progress", params: { token: 7 } });
    values.push((message.params as { value: { progress: number } }).value.progress);
  }
  expect(values.length).toBeGreaterThan(1);
  expect(values.length).toBeLessThanOrEqual((performance.now() - begin) / 100 + 1);
  expect(values).toEqual([...new Set(values)].sort((a, b) => a - b));
  expect(await client.end()).toMatchObject({ exit: 0, rest: [] });
});
