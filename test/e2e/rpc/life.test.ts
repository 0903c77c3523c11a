import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { listServerFlags, SERVER_STARTS } from "../../../src/api/serving.ts";
import { until } from "../../support/expect.ts";
import { MOCTL, moctl } from "../moctl.ts";
import { Client } from "./client.ts";

// A server from its start to its end: order, stops, clients that do not read.

const ARGS = ["--rpc", "--selftest"];

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

test("what is quick does not wait for what is slow, but calls on one thing keep their order", async () => {
  await using client = new Client(ARGS);
  const slow = client.begin("sleep", { ms: 400, key: "web" });
  const next = client.begin("sleep", { ms: 0, key: "web" });
  const other = client.begin("sleep", { ms: 0, key: "db" });
  const ping = client.begin("server.ping");
  const order = [];
  for (let index = 0; index < 4; index++) order.push((await client.receive()).id);
  expect(order.slice(0, 2).sort()).toEqual([other, ping].sort());
  expect(order.slice(2)).toEqual([slow, next]);
});

test("a call is cancelled while it runs, while it waits, and not after its end", async () => {
  await using client = new Client(ARGS);
  const running = client.begin("sleep", { ms: 100_000, key: "web" });
  const waiting = client.begin("sleep", { ms: 100_000, key: "web" });
  client.notify("$/cancelRequest", { id: waiting });
  expect(await client.receive()).toMatchObject({
    id: waiting,
    error: { code: 1001, data: { sideEffects: "none", details: { reason: "client" } } },
  });
  client.notify("notifications/cancelled", { requestId: running });
  expect(await client.receive()).toMatchObject({ id: running, error: { code: 1001 } });
  client.notify("$/cancelRequest", { id: running });
  client.notify("$/cancelRequest", { id: "unknown" });
  client.notify("$/cancelRequest");
  expect(await client.call("server.ping")).toMatchObject({ result: {} });
  expect(await client.end()).toMatchObject({ exit: 0, rest: [] });
});

test("a deadline ends a call", async () => {
  await using client = new Client(ARGS);
  const answer = await client.call("sleep", { ms: 100_000, _meta: { timeoutMs: 20 } });
  expect(answer).toMatchObject({
    error: { code: 1001, data: { retryable: true, details: { reason: "deadline" } } },
  });
});

test("progress comes only where it is asked for, rises, and ends before the answer", async () => {
  await using client = new Client(ARGS);
  const id = client.begin("sleep", { ms: 500, _meta: { progressToken: "t" } });
  const values: number[] = [];
  for (;;) {
    const message = await client.receive();
    if (message.id === id) break;
    expect(message).toMatchObject({ method: "$/progress", params: { token: "t" } });
    const { value } = message.params as { value: { progress: number } };
    values.push(value.progress);
  }
  expect(values.length).toBeGreaterThan(1);
  expect(values.length).toBeLessThan(10);
  expect(values).toEqual([...values].sort((a, b) => a - b));
  await client.call("sleep", { ms: 50 });
  expect(await client.end()).toMatchObject({ rest: [] });
});

test("too many calls are refused without being run", async () => {
  await using client = new Client(ARGS);
  for (let index = 0; index < 32 + 256; index++) client.begin("sleep", { ms: 100_000 });
  const id = client.begin("sleep", { ms: 0 });
  expect(await client.receive()).toMatchObject({
    id,
    error: { code: 1014, data: { retryable: true, details: { reason: "overloaded" } } },
  });
  expect(await client.call("server.ping")).toMatchObject({ result: {} });
});

test("the end of the input lets what is at work end", async () => {
  await using client = new Client(ARGS);
  const id = client.begin("sleep", { ms: 200 });
  const { exit, rest } = await client.end();
  expect({ exit, answers: rest.map((line) => JSON.parse(line)) }).toEqual({
    exit: 0,
    answers: [{ jsonrpc: "2.0", id, result: {} }],
  });
});

test("shutdown and exit end it, as clients of editors do", async () => {
  await using client = new Client(ARGS);
  expect(await client.call("shutdown")).toMatchObject({ result: null });
  expect(await client.call("server.ping")).toMatchObject({ error: { code: -32601 } });
  client.notify("exit");
  expect(await client.ended()).toMatchObject({ exit: 0 });
});

test("a signal answers what is at work and ends it", async () => {
  await using client = new Client(ARGS);
  const id = client.begin("sleep", { ms: 100_000 });
  await client.call("server.ping");
  client.child.kill("SIGTERM");
  const { exit, rest } = await client.ended();
  expect(exit).toBe(143);
  expect(rest.map((line) => JSON.parse(line))).toMatchObject([
    { id, error: { code: 1001, data: { details: { reason: "shutdown" } } } },
  ]);
});

test("a signal ends it also where nobody reads its answers", async () => {
  const child = Bun.spawn(["sh", "-c", `exec "$@" | sleep 1000`, "sh", MOCTL, ...ARGS], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  try {
    let server = 0;
    await until("the server", () => {
      const found = Bun.spawnSync(["pgrep", "-P", String(child.pid), "-x", "moctl"], {
        timeout: 10_000,
      }).stdout.toString();
      server = Number(found.trim());
      return server > 0;
    });
    const call = `{"jsonrpc":"2.0","method":"echo","id":1,"params":["${"x".repeat(200_000)}"]}\n`;
    for (let index = 0; index < 20; index++) child.stdin.write(call.replace('"id":1', `"id":${index}`));
    // The server soon reads no more, so this is not waited for.
    Promise.resolve(child.stdin.flush()).catch(() => {});
    process.kill(server, "SIGTERM");
    await until("its end", () => {
      const state = Bun.spawnSync(["ps", "-o", "stat=", "-p", String(server)], { timeout: 10_000 })
        .stdout.toString()
        .trim();
      return state === "" || state.startsWith("Z");
    });
  } finally {
    process.kill(-child.pid, "SIGKILL");
    await child.exited;
  }
});

test("a reader that is gone ends it with 74", async () => {
  const child = Bun.spawn(["bash", "-c", `"$@" | true; exit "\${PIPESTATUS[0]}"`, "bash", MOCTL, ...ARGS], {
    stdio: ["pipe", "ignore", "ignore"],
    timeout: 60_000,
  });
  const timer = setInterval(() => {
    child.stdin.write('{"jsonrpc":"2.0","method":"server.ping","id":1}\n');
    void child.stdin.flush();
  }, 20);
  expect(await child.exited).toBe(74);
  clearInterval(timer);
});

test("what a library prints does not reach the protocol, and nobody has to read it", async () => {
  await using client = new Client(ARGS);
  expect(await client.call("noise", { bytes: 1000 })).toMatchObject({ result: {} });
  expect(await client.call("server.ping")).toMatchObject({ result: {} });
  const { rest, stderr } = await client.end();
  expect(rest).toEqual([]);
  expect(stderr).toContain("noise of a library");
});

test("a client that sends without reading is not read from, and loses nothing", async () => {
  await using client = new Client(ARGS);
  const filler = "x".repeat(10_000);
  const call = (id: number) => `{"jsonrpc":"2.0","method":"echo","id":${id},"params":["${filler}"]}\n`;
  for (let id = 0; id < 5000; id++) client.child.stdin.write(call(id));
  void client.child.stdin.flush();
  for (let id = 0; id < 5000; id++) expect((await client.receive()).id).toBe(id);
  expect(residentBytes(client.child.pid)).toBeLessThan(200 * 1024 ** 2);
});

test("a wrong command line is one message and exit 2", () => {
  for (const args of [
    ["--rpc", "--nonsense"],
    ["--rpc", "--framing", "xml"],
    ["--rpc", "--protocol", "2"],
    ["--rpc", "--framing"],
  ]) {
    const { exit, stdout, stderr } = moctl(args);
    expect({ args, exit, stdout }).toEqual({ args, exit: 2, stdout: "" });
    expect(stderr).toMatch(/^moctl: [^\n]+\n$/);
  }
  expect(moctl(["./nothere.mos", "rpc"]).exit).toBe(3);
});

test("how a server is started is explained, in its help, its manual and the one of the program", () => {
  const { exit, stdout, stderr } = moctl(["./none.mos", "rpc", "--help"]);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" });
  expect(moctl(["--rpc", "--help"]).stdout).toBe(stdout);
  const document = (name: string) => readFileSync(join(import.meta.dir, "../../../doc", name), "utf8");
  for (const words of Object.keys(SERVER_STARTS)) {
    expect(stdout).toContain(`moctl ${words} `);
    expect(document("rpc.txt")).toContain(`  moctl ${words} `);
    expect(document("moctl.txt")).toContain(`  moctl ${words}\n`);
  }
  for (const [flag, { choices = [] }] of listServerFlags())
    for (const text of [stdout, document("rpc.txt")])
      expect(text).toContain(`  ${[flag, choices.join("|")].join(" ").trimEnd()} `);
});
