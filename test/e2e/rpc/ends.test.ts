import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { makeTestDirectory, removeTestDirectory } from "../../support/beds.ts";
import { until } from "../../support/expect.ts";
import { MOCTL } from "../moctl.ts";
import { Client } from "./client.ts";
import { findServer, makeFifo, startShell, untilStalled } from "./shell.ts";
import { callText, converse, SELFTEST } from "./wire.ts";

// The conformance cases of ends, and of what else is written.

const MIB = 1024 ** 2;

let directory = "";
beforeAll(() => {
  directory = makeTestDirectory("rpc");
});
afterAll(() => removeTestDirectory(directory));

/** The output of the server is a pipe that nobody has open to read. */
const NO_READER = `"$0" --rpc --selftest | true; exit "\${PIPESTATUS[0]}"`;

/** Waits until only the server is left of that line. */
async function untilReaderIsGone(shell: number): Promise<void> {
  await findServer(shell);
  await until("the end of the reader", () => {
    const children = Bun.spawnSync(["pgrep", "-P", String(shell)], { timeout: 10_000 }).stdout.toString();
    return children.trim().split("\n").length === 1;
  });
}

test("case 38: at the end of the input what is at work ends; without input there is nothing", async () => {
  const calls = [callText(1, "sleep", { ms: 200 }), callText(2, "sleep", { ms: 0 })];
  expect(await converse([calls.join("\n")])).toMatchObject({
    exit: 0,
    text: '{"jsonrpc":"2.0","id":2,"result":{}}\n{"jsonrpc":"2.0","id":1,"result":{}}\n',
  });
  const child = Bun.spawnSync([MOCTL, ...SELFTEST], { stdin: "ignore", timeout: 60_000 });
  expect([child.exitCode, child.stdout.toString()]).toEqual([0, ""]);
});

test.each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
  ["SIGHUP", 129],
] as const)("case 38: %s answers what is at work and what waits", async (signal, status) => {
  await using client = new Client(SELFTEST);
  const ids = [0, 1].map(() => client.begin("sleep", { ms: 100_000, key: "web" }));
  await client.call("server.ping");
  client.child.kill(signal);
  const { exit, rest } = await client.ended();
  expect(exit).toBe(status);
  const answers = rest.map((line) => JSON.parse(line) as { id: number }).sort((a, b) => a.id - b.id);
  expect(answers).toMatchObject(
    ids.map((id) => ({ id, error: { code: 1001, data: { details: { reason: "shutdown" } } } })),
  );
});

test("case 38: SIGTERM ends it in 1.5 seconds though nobody reads", async () => {
  using out = makeFifo(directory, "unread");
  await using shell = startShell('exec "$0" --rpc --selftest >"$1"', [out.path]);
  for (let id = 0; id < 20; id++) shell.child.stdin.write(`${callText(id, "echo", ["x".repeat(200_000)])}\n`);
  // The server soon reads no more, so this is not waited for.
  Promise.resolve(shell.child.stdin.flush()).catch(() => {});
  await untilStalled(shell.child.pid);
  const begin = performance.now();
  process.kill(shell.child.pid, "SIGTERM");
  expect(await shell.child.exited).toBe(143);
  expect(performance.now() - begin).toBeLessThan(3000);
});

test("case 38: a reader that is gone ends it with 74", async () => {
  await using shell = startShell(NO_READER);
  await untilReaderIsGone(shell.child.pid);
  shell.child.stdin.write(`${callText(1, "server.ping")}\n`);
  void shell.child.stdin.flush();
  const next = setInterval(() => {
    shell.child.stdin.write("\n");
    void shell.child.stdin.flush();
  }, 20);
  expect(await shell.child.exited).toBe(74);
  clearInterval(next);
});

// It sees the end only when it has read more.
test.failing("a reader that is gone ends it also where nothing more is said, and what is at work", async () => {
  await using shell = startShell(NO_READER);
  await untilReaderIsGone(shell.child.pid);
  const calls = [callText(1, "sleep", { ms: 50 }), callText(2, "sleep", { ms: 100_000 })];
  shell.child.stdin.write(`${calls.join("\n")}\n`);
  void shell.child.stdin.flush();
  expect(await Promise.race([shell.child.exited, Bun.sleep(3000)])).toBe(74);
});

test("case 39: what a library prints does not come between", async () => {
  const { text, log, exit } = await converse([callText(1, "noise", { bytes: 1000 })]);
  expect({ text, exit }).toEqual({ text: '{"jsonrpc":"2.0","id":1,"result":{}}\n', exit: 0 });
  expect(log).toContain("noise of a library\n");
});

test("case 39: what a child inherits is not the stream of the protocol", async () => {
  await using client = new Client(SELFTEST);
  await client.call("server.ping");
  const of = `/proc/${client.child.pid}`;
  const [input, output, log] = [0, 1, 2].map((fd) => readlinkSync(`${of}/fd/${fd}`));
  expect(output).toBe(log);
  const own = readdirSync(`${of}/fd`).filter((fd) => Number(fd) > 2);
  const pipes = own.filter((fd) => /^(pipe|socket):/.test(readlinkSync(`${of}/fd/${fd}`)));
  expect(pipes.length).toBeGreaterThan(0);
  expect(pipes.map((fd) => readlinkSync(`${of}/fd/${fd}`))).not.toContain(input);
  const CLOSE_ON_EXEC = 0o2000000;
  for (const fd of pipes) {
    const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`${of}/fdinfo/${fd}`, "utf8"))?.[1] ?? "";
    expect({ fd, closes: (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) !== 0 }).toEqual({ fd, closes: true });
  }
});

test("case 39: 10 MB for a log that nobody reads stop nothing", async () => {
  using log = makeFifo(directory, "log");
  using out = makeFifo(directory, "answer");
  await using shell = startShell('exec "$0" --rpc --selftest >"$1" 2>"$2"', [out.path, log.path]);
  const reader = Bun.spawn(["cat", out.path], { stdout: "pipe", timeout: 60_000, killSignal: "SIGKILL" });
  const answer = reader.stdout.text();
  // Each is told of in more than a hundred bytes.
  const ignored = `${callText(undefined, "volume.drop", { volume: "x" })}\n`.repeat(1000);
  for (let count = 0; count < 100; count++) {
    shell.child.stdin.write(ignored);
    await shell.child.stdin.flush();
  }
  shell.child.stdin.write(`${callText(1, "server.ping")}\n`);
  await shell.child.stdin.end();
  expect(await answer).toBe('{"jsonrpc":"2.0","id":1,"result":{}}\n');
  expect(await shell.child.exited).toBe(0);
});

test("case 39: an answer of 1 MiB is whole, by a pipe and by a pair of sockets", async () => {
  const call = `${callText(1, "echo", ["x".repeat(MIB)])}\n`;
  const whole = Buffer.byteLength('{"jsonrpc":"2.0","id":1,"result":{"value":""}}\n') + MIB;
  await using client = new Client(SELFTEST);
  expect(readlinkSync(`/proc/${client.child.pid}/fd/0`)).toStartWith("socket:");
  client.send(call);
  expect((await client.line()).length + 1).toBe(whole);
  const file = join(directory, "call");
  await Bun.write(file, call);
  const argv = ["bash", "-c", '"$0" --rpc --selftest <"$1" | wc -c', MOCTL, file];
  const piped = Bun.spawnSync(argv, { timeout: 60_000 });
  expect(piped.stdout.toString()).toBe(`${whole}\n`);
});
