import { describe, expect, test } from "bun:test";
import { Client, exchange, type Received } from "./client.ts";

// What is a request, and how it is answered: the corners of JSON-RPC 2.0.

const CALL = '{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":1}';

function answer(id: unknown, result: unknown) {
  return { jsonrpc: "2.0", id, result };
}

function fault(id: unknown, code: number) {
  return { jsonrpc: "2.0", id, error: expect.objectContaining({ code }) };
}

async function expectLines(input: string | Uint8Array, lines: unknown[]): Promise<void> {
  const answers = await exchange(input);
  expect(answers.lines).toEqual(lines);
  expect(answers.exit).toBe(0);
}

describe("one message is answered:", () => {
  test.each<[string, string, unknown[]]>([
    ["by place", CALL, [answer(1, 19)]],
    [
      "by place, the other way",
      '{"jsonrpc":"2.0","method":"subtract","params":[23,42],"id":2}',
      [answer(2, -19)],
    ],
    [
      "by name",
      '{"jsonrpc":"2.0","method":"subtract","params":{"subtrahend":23,"minuend":42},"id":3}',
      [answer(3, 19)],
    ],
    [
      "a name in the wrong case",
      '{"jsonrpc":"2.0","method":"subtract","params":{"Subtrahend":23,"minuend":42},"id":3}',
      [fault(3, -32602)],
    ],
    [
      "too many by place",
      '{"jsonrpc":"2.0","method":"subtract","params":[1,2,3],"id":3}',
      [fault(3, -32602)],
    ],
    ["an unknown method", '{"jsonrpc":"2.0","method":"foobar","id":"1"}', [fault("1", -32601)]],
    ...["constructor", "__proto__", "toString", "rpc.foo"].map(
      (method) =>
        [method, `{"jsonrpc":"2.0","method":"${method}","id":1}`, [fault(1, -32601)]] as [
          string,
          string,
          unknown[],
        ],
    ),
    ["a line that is cut", `{"jsonrpc":"2.0","method\n${CALL}`, [fault(null, -32700), answer(1, 19)]],
    ["a method that is no string", '{"jsonrpc":"2.0","method":1,"params":"bar"}', [fault(null, -32600)]],
    ["the same with an id", '{"jsonrpc":"2.0","method":1,"params":"bar","id":5}', [fault(5, -32600)]],
    ["null", "null", [fault(null, -32600)]],
    ["a number", "1", [fault(null, -32600)]],
    ["a string", '"x"', [fault(null, -32600)]],
    ["true", "true", [fault(null, -32600)]],
    ["an empty object", "{}", [fault(null, -32600)]],
    ["an id alone", '{"id":1}', [fault(1, -32600)]],
    ["no version", '{"method":"get_data","id":7}', [fault(7, -32600)]],
    ["version 1.0", '{"jsonrpc":"1.0","method":"get_data","id":7}', [fault(7, -32600)]],
    ["a version that is a number", '{"jsonrpc":2.0,"method":"get_data","id":7}', [fault(7, -32600)]],
    [
      "params that are a string",
      '{"jsonrpc":"2.0","method":"get_data","params":"s","id":7}',
      [fault(7, -32600)],
    ],
    [
      "params that are a number",
      '{"jsonrpc":"2.0","method":"get_data","params":5,"id":7}',
      [fault(7, -32600)],
    ],
    [
      "params that are null",
      '{"jsonrpc":"2.0","method":"get_data","params":null,"id":7}',
      [answer(7, ["hello", 5])],
    ],
    ["no params", '{"jsonrpc":"2.0","method":"get_data","id":7}', [answer(7, ["hello", 5])]],
    ["an answer", '{"jsonrpc":"2.0","result":1,"id":5}', [fault(5, -32600)]],
    ["an id that is an object", '{"jsonrpc":"2.0","method":"get_data","id":{}}', [fault(null, -32600)]],
    ["an id that is a list", '{"jsonrpc":"2.0","method":"get_data","id":[]}', [fault(null, -32600)]],
    ["an id that is true", '{"jsonrpc":"2.0","method":"get_data","id":true}', [fault(null, -32600)]],
    ["an id that is null", '{"jsonrpc":"2.0","method":"get_data","id":null}', [answer(null, ["hello", 5])]],
    [
      "a prototype in the params",
      '{"jsonrpc":"2.0","method":"echo","params":{"value":{"__proto__":{"x":1}}},"id":1}',
      [answer(1, { value: JSON.parse('{"__proto__":{"x":1}}') })],
    ],
  ])("%s", (_what, input, lines) => expectLines(input, lines));
});

test.each(["0", '""', "-1", "1.5", "9007199254740993", "1e-7", '"é"', '"\\u2028"', "-0", "1E400"])(
  "the id %s comes back as it was, alone and in a batch",
  async (id) => {
    const call = `{"jsonrpc":"2.0","method":"get_data","id":${id}}`;
    const alone = (await exchange(call)).texts;
    const batch = (await exchange(`[${call}]`)).texts;
    expect(alone).toEqual([`{"jsonrpc":"2.0","id":${id},"result":["hello",5]}`]);
    expect(batch).toEqual([`[${alone[0]}]`]);
  },
);

test("a notification is answered by nothing", () =>
  expectLines(
    [
      '{"jsonrpc":"2.0","method":"update","params":[1]}',
      '{"jsonrpc":"2.0","method":"foobar"}',
      '{"jsonrpc":"2.0","method":"subtract","params":{"bad":1}}',
      '{"jsonrpc":"2.0","method":"$/unknown"}',
      "",
    ].join("\n"),
    [],
  ));

describe("a batch:", () => {
  test.each<[string, string, unknown]>([
    ["empty", "[]", fault(null, -32600)],
    ["of one that is nothing", "[1]", [fault(null, -32600)]],
    ["of three that are nothing", "[1,2,3]", [fault(null, -32600), fault(null, -32600), fault(null, -32600)]],
    ["of null", "[null]", [fault(null, -32600)]],
    ["of one", `[${CALL}]`, [answer(1, 19)]],
    ["that is cut", `[${CALL},{"jsonrpc"`, fault(null, -32700)],
    ["that is too long", `[${Array.from({ length: 257 }, () => CALL).join(",")}]`, fault(null, -32600)],
  ])("%s", (_what, input, line) => expectLines(input, [line]));

  test("of notifications is answered by nothing", () =>
    expectLines('[{"jsonrpc":"2.0","method":"update"},{"jsonrpc":"2.0","method":"foobar"}]', []));

  test("of six has five answers", async () => {
    const { lines } = await exchange(
      `[{"jsonrpc":"2.0","method":"sum","params":[1,2,4],"id":"1"},{"jsonrpc":"2.0","method":"notify_hello","params":[7]},
        {"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":"2"},{"foo":"boo"},
        {"jsonrpc":"2.0","method":"foo.get","params":{"name":"myself"},"id":"5"},{"jsonrpc":"2.0","method":"get_data","id":"9"}]`.replaceAll(
        "\n",
        " ",
      ),
    );
    const answers = lines[0] as Received[];
    expect(answers).toHaveLength(5);
    expect(
      Object.fromEntries(answers.map(({ id, result, error }) => [String(id), result ?? error?.code])),
    ).toEqual({
      "1": 7,
      "2": 19,
      null: -32600,
      "5": -32601,
      "9": ["hello", 5],
    });
  });
});

test("a message may be deep, and not too deep", async () => {
  const nested = (depth: number) =>
    `{"jsonrpc":"2.0","method":"echo","id":1,"params":{"value":${"[".repeat(depth)}${"]".repeat(depth)}}}`;
  await expectLines(nested(62), [expect.objectContaining({ id: 1, result: expect.anything() })]);
  await expectLines(nested(63), [fault(null, -32600)]);
  await expectLines(nested(1_000_000), [fault(null, -32600)]);
});

test("an id in flight is not taken twice, and may be used again after its answer", async () => {
  await using client = new Client(["--rpc", "--selftest"]);
  const sleep = '{"jsonrpc":"2.0","method":"sleep","params":{"ms":300},"id":"x"}\n';
  client.send(sleep + sleep);
  expect(await client.receive()).toMatchObject({
    id: null,
    error: { code: -32600, data: { details: { duplicateId: "x" } } },
  });
  expect(await client.receive()).toEqual({ jsonrpc: "2.0", id: "x", result: {} });
  client.send(sleep);
  expect(await client.receive()).toEqual({ jsonrpc: "2.0", id: "x", result: {} });
  expect(await client.end()).toMatchObject({ exit: 0, rest: [] });
});
