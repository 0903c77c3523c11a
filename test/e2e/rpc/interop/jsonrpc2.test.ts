import { expect, test } from "bun:test";
import { type JSONRPC, JSONRPCClient, JSONRPCErrorException, type JSONRPCResponse } from "json-rpc-2.0";
import { Client } from "../client.ts";
import { SELFTEST } from "../wire.ts";

// Case 40, with json-rpc-2.0: a client without a framing of its own, given lines.

/** A client of the library over a connection of lines. */
function connect() {
  const wire = new Client(SELFTEST);
  const client: JSONRPCClient = new JSONRPCClient(async (request: unknown) => {
    wire.send(`${JSON.stringify(request)}\n`);
    const isAnswered = [request].flat().some((item) => (item as { id?: unknown }).id !== undefined);
    if (isAnswered) client.receive(JSON.parse(await wire.line()) as JSONRPCResponse);
  });
  return { client, wire, [Symbol.asyncDispose]: () => wire[Symbol.asyncDispose]() };
}

const VERSION = "2.0" as JSONRPC;

test("case 40: json-rpc-2.0 calls by place and by name, any number at a time", async () => {
  await using connected = connect();
  const { client } = connected;
  expect(await client.request("subtract", [42, 23])).toBe(19);
  expect(await client.request("subtract", { subtrahend: 23, minuend: 42 })).toBe(19);
  const many = Array.from({ length: 100 }, (_, minuend) => minuend);
  expect(await Promise.all(many.map((minuend) => client.request("subtract", [minuend, 1])))).toEqual(
    many.map((minuend) => minuend - 1),
  );
});

test("case 40: json-rpc-2.0 gets errors with their codes and data", async () => {
  await using connected = connect();
  const thrown: unknown = await Promise.resolve(connected.client.request("subtract", { minuend: 1 })).catch(
    (error) => error,
  );
  expect(thrown).toBeInstanceOf(JSONRPCErrorException);
  expect(thrown).toMatchObject({ code: -32602, data: { details: { path: "/subtrahend" } } });
});

test("case 40: json-rpc-2.0 gets the answers of a batch, and none to a notification", async () => {
  await using connected = connect();
  const { client, wire } = connected;
  client.notify("update", [1]);
  const answers = await client.requestAdvanced([
    { jsonrpc: VERSION, id: 1, method: "subtract", params: [42, 23] },
    { jsonrpc: VERSION, method: "update", params: [1] },
    { jsonrpc: VERSION, id: "two", method: "foobar" },
  ] as never);
  expect(answers).toHaveLength(2);
  expect(answers).toContainEqual({ jsonrpc: VERSION, id: 1, result: 19 });
  expect(answers).toContainEqual(
    expect.objectContaining({ id: "two", error: expect.objectContaining({ code: -32601 }) }),
  );
  expect(await wire.end()).toMatchObject({ exit: 0, rest: [] });
});
