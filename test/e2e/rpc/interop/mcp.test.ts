import { expect, test } from "bun:test";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import { MOCTL } from "../../moctl.ts";
import { callText, SELFTEST } from "../wire.ts";

// Case 40, with the transport of the Model Context Protocol's SDK: lines, each held against its schema of a message.

/** A transport that is open, and what came through it. */
async function connect() {
  const transport = new StdioClientTransport({ command: MOCTL, args: SELFTEST, cwd: "/" });
  const errors: Error[] = [];
  const arrived: JSONRPCMessage[] = [];
  const waiting: ((message: JSONRPCMessage) => void)[] = [];
  const closed = Promise.withResolvers<void>();
  transport.onerror = (error) => errors.push(error);
  transport.onclose = closed.resolve;
  transport.onmessage = (message) => {
    const next = waiting.shift();
    if (next) next(message);
    else arrived.push(message);
  };
  await transport.start();
  const receive = (): Promise<JSONRPCMessage> => {
    const message = arrived.shift();
    return message ? Promise.resolve(message) : new Promise((resolve) => waiting.push(resolve));
  };
  const send = (text: string) => transport.send(JSON.parse(text) as JSONRPCMessage);
  return {
    transport,
    errors,
    receive,
    send,
    closed: closed.promise,
    [Symbol.asyncDispose]: () => transport.close(),
  };
}

test("case 40: the transport of MCP takes every kind of message", async () => {
  await using connected = await connect();
  const { send, receive, errors } = connected;
  await send(callText(1, "echo", { value: "é😀" }));
  await send(callText("two", "foobar"));
  await send(callText(3, "sleep", { ms: 50, _meta: { progressToken: "t" } }));
  const messages = [await receive(), await receive(), await receive(), await receive()];
  expect(messages).toContainEqual({
    jsonrpc: "2.0",
    id: "two",
    error: expect.objectContaining({ code: -32601 }),
  });
  expect(messages).toContainEqual({ jsonrpc: "2.0", id: 1, result: { value: "é😀" } });
  expect(messages).toContainEqual(expect.objectContaining({ method: "$/progress" }));
  expect(messages).toContainEqual({ jsonrpc: "2.0", id: 3, result: {} });
  expect(errors).toEqual([]);
});

test("case 40: the transport of MCP cancels, and stays open with the longest answer", async () => {
  await using connected = await connect();
  const { send, receive, errors, transport } = connected;
  await send(callText(1, "sleep", { ms: 100_000 }));
  await send(callText(undefined, "notifications/cancelled", { requestId: 1 }));
  expect(await receive()).toMatchObject({ id: 1, error: { code: 1001 } });
  for (const [length, outcome] of [
    [8 * 1024 ** 2 - 100, { result: {} }],
    [8 * 1024 ** 2, { error: { code: 1003, data: { details: { reason: "result_too_large" } } } }],
  ] as const) {
    await send(callText(length, "echo", { value: "x".repeat(length) }));
    expect(await receive()).toMatchObject({ id: length, ...outcome });
  }
  expect(errors).toEqual([]);
  expect(transport.pid).not.toBeNull();
});

test("case 40: the server ends when the transport of MCP is closed, without a signal", async () => {
  await using connected = await connect();
  const { send, receive, transport, closed } = connected;
  await send(callText(1, "server.ping"));
  await receive();
  const begin = performance.now();
  await transport.close();
  await closed;
  // It would send a signal after two seconds.
  expect(performance.now() - begin).toBeLessThan(1900);
});
