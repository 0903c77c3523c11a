import { describe, expect, test } from "bun:test";
import { Client, exchange } from "./client.ts";

// How messages lie in the stream, in whatever pieces they come.

const PING = '{"jsonrpc":"2.0","method":"server.ping","id":1}';
const PONG = '{"jsonrpc":"2.0","id":1,"result":{}}';

function frame(text: string, headers = `Content-Length: ${Buffer.byteLength(text)}\r\n`): string {
  return `${headers}\r\n${text}`;
}

async function exchangeRaw(
  pieces: readonly (string | Uint8Array)[],
  args: readonly string[] = ["--rpc", "--selftest"],
) {
  await using client = new Client(args);
  for (const piece of pieces) {
    client.send(piece);
    await Bun.sleep(0);
  }
  const { rest, exit } = await client.end();
  return { text: rest.join("\n"), exit };
}

describe("lines are messages:", () => {
  test.each<[string, string, string[]]>([
    ["with carriage returns", `${PING}\r\n`, [PONG]],
    ["with blank lines", `\n\r\n${PING}\n\n \t\n`, [PONG]],
    ["with a byte order mark", `\uFEFF${PING}\n`, [PONG]],
    [
      "with record separators",
      `\x1e${PING}\n\x1e${PING.replace("1}", "2}")}\n`,
      [PONG, PONG.replace(":1,", ":2,")],
    ],
    ["without a last line feed", PING, [PONG]],
  ])("%s", async (_what, input, lines) => {
    const { texts, exit } = await exchange(input);
    expect({ texts, exit }).toEqual({ texts: lines, exit: 0 });
  });

  test("a line that is no UTF-8 costs only itself", async () => {
    const bad = Buffer.concat([
      Buffer.from('{"jsonrpc":"2.0","method":"echo","id":2,"params":["'),
      Buffer.from([0xff]),
      Buffer.from(`"]}\n${PING}\n`),
    ]);
    const { lines } = await exchange(bad);
    expect(lines).toMatchObject([
      { id: null, error: { code: -32700 } },
      { id: 1, result: {} },
    ]);
  });

  test("a character in two pieces is one", async () => {
    const bytes = Buffer.from('{"jsonrpc":"2.0","method":"echo","id":1,"params":["😀"]}\n');
    const at = bytes.indexOf(0xf0) + 2;
    const { text } = await exchangeRaw([bytes.subarray(0, at), bytes.subarray(at)]);
    expect(JSON.parse(text)).toMatchObject({ result: { value: "😀" } });
  });

  test("bytes one by one, and a thousand calls in one piece", async () => {
    expect((await exchangeRaw([...PING, "\n"])).text).toBe(PONG);
    const many = Array.from(
      { length: 1000 },
      (_, id) => `{"jsonrpc":"2.0","method":"server.ping","id":${id}}\n`,
    );
    const { texts } = await exchange(many.join(""));
    expect(texts).toEqual(many.map((_, id) => `{"jsonrpc":"2.0","id":${id},"result":{}}`));
  });

  test("a message that is too long is skipped, a long one is not", async () => {
    const long = (bytes: number) => {
      const head = '{"jsonrpc":"2.0","method":"echo","id":1,"params":{"x-filler":"';
      return `${head}${"x".repeat(bytes - head.length - 3)}"}}\n`;
    };
    const { lines } = await exchange(long(17 * 1024 ** 2) + PING.replace("1}", "2}"));
    expect(lines).toMatchObject([
      { id: null, error: { code: -32600, data: { details: { reason: "message_too_large" } } } },
      { id: 2, result: {} },
    ]);
    expect((await exchange(long(15.9 * 1024 ** 2))).lines).toMatchObject([{ id: 1, result: {} }]);
  });

  test("a header in a connection of lines is no JSON", async () => {
    const { lines, exit } = await exchange(`${PING}\nContent-Length: 5\n${PING}\n`);
    expect(lines).toMatchObject([{ id: 1 }, { id: null, error: { code: -32700 } }, { id: 1 }]);
    expect(exit).toBe(0);
  });

  test("what some readers take for the end of a line is escaped", async () => {
    const { texts } = await exchange(
      '{"jsonrpc":"2.0","method":"echo","id":1,"params":["\\u0085\\u2028\\u2029"]}',
    );
    expect(texts).toEqual(['{"jsonrpc":"2.0","id":1,"result":{"value":"\\u0085\\u2028\\u2029"}}']);
  });
});

describe("headers with lengths are messages:", () => {
  const answer = frame(PONG).replaceAll("\n", "\n");
  test.each<[string, string]>([
    ["as usual", frame(PING)],
    ["in small letters", frame(PING, `content-length: ${PING.length}\r\n`)],
    [
      "with a type before it",
      frame(
        PING,
        `Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: ${PING.length}\r\n`,
      ),
    ],
    ["with utf8", frame(PING, `Content-Length: ${PING.length}\r\nContent-Type: x; charset=utf8\r\n`)],
  ])("%s", async (_what, input) => {
    expect(await exchangeRaw([input])).toEqual({ text: answer, exit: 0 });
    expect(await exchangeRaw([...input])).toEqual({ text: answer, exit: 0 });
  });

  test("two in one piece, with the length in bytes", async () => {
    const echo = '{"jsonrpc":"2.0","method":"echo","id":2,"params":["é😀"]}';
    const { text } = await exchangeRaw([frame(PING) + frame(echo)]);
    const result = '{"jsonrpc":"2.0","id":2,"result":{"value":"é😀"}}';
    expect(text).toContain(`Content-Length: ${Buffer.byteLength(result)}\r\n\r\n${result}`);
  });

  test.each<[string, string]>([
    ["no length", "Content-Type: x\r\n\r\n{}"],
    ["a length that is none", "Content-Length: x\r\n\r\n{}"],
    ["a negative length", "Content-Length: -1\r\n\r\n{}"],
    ["a huge length", "Content-Length: 99999999999\r\n\r\n{}"],
    ["another charset", `Content-Length: 2\r\nContent-Type: x; charset=latin1\r\n\r\n{}`],
    ["an end inside a body", "Content-Length: 100\r\n\r\n{}"],
  ])("%s ends the connection", async (_what, input) => {
    const { text, exit } = await exchangeRaw([input]);
    expect(text).toContain('"code":-32700');
    expect(exit).toBe(65);
  });
});

test("nothing is said before the client speaks, and nothing to one that says nothing", async () => {
  expect(await exchange("")).toMatchObject({ texts: [], exit: 0 });
});
