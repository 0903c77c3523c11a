import { expect, test } from "bun:test";
import { Client } from "./client.ts";
import { ask, callText, converse, frame, SELFTEST, type Short, shorten, unframe } from "./wire.ts";

// The conformance cases of one message. A case's number is in its name; the other files of this folder have the others.

const rows = (id: string) => `{"jsonrpc":"2.0","method":"get_data","id":${id}}`;

test("case 1: params by place", async () => {
  const calls = [callText(1, "subtract", [42, 23]), callText(2, "subtract", [23, 42])];
  expect(await ask(calls.join("\n"))).toEqual([
    { id: 1, result: 19 },
    { id: 2, result: -19 },
  ]);
});

test("case 2: params by name, in any order, in the right case", async () => {
  const calls = [
    { subtrahend: 23, minuend: 42 },
    { minuend: 42, subtrahend: 23 },
    { minuend: 42, Subtrahend: 23 },
  ].map((params, id) => callText(id, "subtract", params));
  const answers = (await ask(calls.join("\n"))) as Short[];
  expect(answers.sort((a, b) => Number(a.id) - Number(b.id))).toEqual([
    { id: 0, result: 19 },
    { id: 1, result: 19 },
    { id: 2, code: -32602 },
  ]);
});

test("case 3: a notification is answered by nothing, whatever is wrong with it", async () => {
  const calls = [
    ["update", [1, 2, 3, 4, 5]],
    ["foobar", undefined],
    ["subtract", { bad: true }],
    ["subtract", [42, 23]],
    ["$/unknown", {}],
    ["rpc.discover", undefined],
  ].map(([method, params]) => callText(undefined, String(method), params));
  expect(await converse([calls.join("\n")])).toMatchObject({ exit: 0, text: "" });
});

test("case 4: an unknown method, also one that every object has", async () => {
  const names = ["foobar", "constructor", "__proto__", "toString", "rpc.foo", "Server.ping", ""];
  expect(await ask(names.map((name) => callText("1", name)).join("\n"))).toEqual(
    names.map(() => ({ id: "1", code: -32601 })),
  );
});

test("case 5: a line that is cut costs only itself", async () => {
  const cut = '{"jsonrpc":"2.0","method":"foobar,"params":"bar","baz]';
  expect(await ask(`${cut}\n${callText(1, "subtract", [42, 23])}`)).toEqual([
    { id: null, code: -32700 },
    { id: 1, result: 19 },
  ]);
});

test("case 6: a method that is no string", async () => {
  const request = { jsonrpc: "2.0", method: 1, params: "bar" };
  expect(await ask([request, { ...request, id: 5 }].map((item) => JSON.stringify(item)).join("\n"))).toEqual([
    { id: null, code: -32600 },
    { id: 5, code: -32600 },
  ]);
});

test("case 13: JSON that is no object", async () => {
  const lines = ["null", "1", '"x"', "true"];
  expect(await ask(`\n${lines.join("\n")}`)).toEqual(lines.map(() => ({ id: null, code: -32600 })));
});

test("case 14: an object that is no request", async () => {
  expect(await ask('{}\n{"id":1}')).toEqual([
    { id: null, code: -32600 },
    { id: 1, code: -32600 },
  ]);
});

test("case 15: a version that is not 2.0 is answered with the id", async () => {
  const versions = ["", '"jsonrpc":"1.0",', '"jsonrpc":"2.1",', '"jsonrpc":2.0,', '"jsonrpc":null,'];
  const lines = versions.map((version, id) => `{${version}"method":"get_data","id":${id}}`);
  expect(await ask(lines.join("\n"))).toEqual(versions.map((_version, id) => ({ id, code: -32600 })));
});

test("case 16: an id comes back with its value, alone and in a batch", async () => {
  const ids = [
    "0",
    '""',
    "-1",
    "1.5",
    "9007199254740993",
    "1e2",
    "1e-7",
    "-0",
    "1E400",
    '"é"',
    '"\\u2028"',
    '"\\ud800"',
  ];
  const alone = (await converse([ids.map(rows).join("\n")])).text.trimEnd().split("\n");
  const batch = (await converse([`[${ids.map(rows).join()}]`])).text;
  const values = ids.map((id) => JSON.parse(id) as unknown);
  expect(alone.map((line) => JSON.parse(line).id)).toEqual(values);
  expect((JSON.parse(batch) as { id: unknown }[]).map(({ id }) => id)).toEqual(values);
  // Its nearest double is 9007199254740992, so the values above do not show it.
  for (const text of [alone[4], batch]) expect(text).toContain('"id":9007199254740993,');
});

test("case 17: a null id is answered", async () => {
  expect(await ask(rows("null"))).toEqual([{ id: null, result: ["hello", 5] }]);
});

test("case 18: an id that is none is refused, and nothing is run", async () => {
  const long = JSON.stringify("x".repeat(257));
  const ids = ["{}", "[]", "true", "false", long];
  const calls = ids.map((id) => rows(id).replace("get_data", "noise"));
  const { text, log } = await converse([calls.join("\n")]);
  expect(
    text
      .trimEnd()
      .split("\n")
      .map((line) => shorten(JSON.parse(line))),
  ).toEqual(ids.map(() => ({ id: null, code: -32600 })));
  expect(log).toBe("");
});

test("case 19: params are an object or a list; null is as none", async () => {
  const lines = ['"s"', "5", "true", "null"].map((params, id) =>
    rows(String(id)).replace('"id"', `"params":${params},"id"`),
  );
  expect(await ask([...lines, rows("4")].join("\n"))).toEqual([
    { id: 0, code: -32600 },
    { id: 1, code: -32600 },
    { id: 2, code: -32600 },
    { id: 3, result: ["hello", 5] },
    { id: 4, result: ["hello", 5] },
  ]);
});

test("case 22: an answer as input is refused, by headers ignored; the connection lives", async () => {
  const answers = ['{"jsonrpc":"2.0","result":1,"id":5}', '{"jsonrpc":"2.0","error":{"code":1},"id":6}'];
  const ping = callText(7, "server.ping");
  expect(await ask([...answers, ping].join("\n"))).toEqual([
    { id: 5, code: -32600 },
    { id: 6, code: -32600 },
    { id: 7, result: {} },
  ]);
  const { exit, text } = await converse([...answers, ping].map((item) => frame(item)));
  expect(exit).toBe(0);
  expect(unframe(text).map((item) => shorten(JSON.parse(item)))).toEqual([{ id: 7, result: {} }]);
});

test("case 23: what the server says has just the members that it must", async () => {
  await using client = new Client(SELFTEST);
  const seen = [
    await client.call("server.ping"),
    await client.call("server.info"),
    await client.call("echo"),
    await client.call("shutdown_"),
    await client.call("subtract", { minuend: "x" }),
    await client.call("job.get", { job: "x", mosaic: "/nowhere.mos" }),
  ];
  // A result that says nothing is an object all the same; `shorten` refuses an answer without one and one with more.
  expect(seen.map((answer) => "code" in shorten(answer))).toEqual([false, false, false, true, true, true]);
  expect(seen[0]?.result).toEqual({});
  for (const { error } of seen.slice(3)) {
    expect(Object.keys(error ?? {}).sort()).toEqual(["code", "data", "message"]);
    expect(Object.keys(error?.data ?? {}).sort()).toEqual(["code", "details", "retryable", "sideEffects"]);
  }
  client.begin("sleep", { ms: 100, _meta: { progressToken: 1 } });
  expect(Object.keys(await client.receive()).sort()).toEqual(["jsonrpc", "method", "params"]);
});
