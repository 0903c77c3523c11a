import { expect, test } from "bun:test";
import { Client } from "./client.ts";
import { ask, callText, converse, frame, residentBytes, SELFTEST, shorten, unframe } from "./wire.ts";

// The conformance cases of bytes: characters, lines, headers and lengths, in whatever pieces they come.

const PING = callText(1, "server.ping");
const MIB = 1024 ** 2;

/** An echo that has so many bytes. */
function longEcho(id: number, bytes: number): string {
  const empty = callText(id, "echo", { "x-filler": "" });
  return `${callText(id, "echo", { "x-filler": "x".repeat(bytes - empty.length) })}\n`;
}

test("case 24: bytes that are no UTF-8 cost one line; a character in two pieces is one", async () => {
  const [before = "", after = ""] = callText(2, "echo", ["#"]).split("#");
  for (const bytes of [[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf0, 0x9f, 0x98], [0xc0, 0xaf]]) {
    const bad = Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(`${after}\n${PING}`)]);
    expect(await ask(bad)).toEqual([
      { id: null, code: -32700 },
      { id: 1, result: {} },
    ]);
  }
  const emoji = Buffer.from(callText(3, "echo", ["😀"]));
  const middle = emoji.indexOf(0xf0) + 2;
  const { text } = await converse([emoji.subarray(0, middle), emoji.subarray(middle)]);
  expect(JSON.parse(text)).toMatchObject({ id: 3, result: { value: "😀" } });
});

test("case 25: carriage returns, blank lines, a mark of byte order and a missing end are accepted", async () => {
  const inputs = [`${PING}\r\n`, `\n\r\n \t\n${PING}\n\n`, `\uFEFF${PING}\n`, `\x1e${PING}\n`, PING];
  for (const input of inputs) expect(await ask(input)).toEqual([{ id: 1, result: {} }]);
});

test("case 26: every line of the output is one JSON text, whatever comes in", async () => {
  const odd = "\u0085\u2028\u2029\n\r\u0000é😀";
  const lines = [
    callText(odd, "echo", [odd]),
    callText(1, odd),
    callText(2, "echo", { [odd]: odd }),
    callText(3, "sleep", { ms: 30, _meta: { progressToken: odd } }),
    callText(4, "job.get", { job: odd, mosaic: `/nowhere${odd}.mos` }),
    `{"${odd}`,
    odd,
  ];
  const { text } = await converse([lines.join("\n")]);
  expect(text).toEndWith("\n");
  expect(text).not.toMatch(/[\u0085\u2028\u2029\r]/);
  const messages = text.slice(0, -1).split("\n");
  expect(messages.length).toBeGreaterThan(7);
  for (const message of messages) expect(JSON.parse(message)).toMatchObject({ jsonrpc: "2.0" });
  expect(messages.map((message) => JSON.parse(message).id)).toContain(odd);
});

test("case 27: the pieces make no difference", async () => {
  const whole = await converse([`${PING}\n${PING}\n`]);
  expect(whole.text).toBe('{"jsonrpc":"2.0","id":1,"result":{}}\n'.repeat(2));
  expect(await converse(`${PING}\n${PING}\n`)).toEqual(whole);
  const many = Array.from({ length: 1000 }, (_, id) => callText(id, "server.ping"));
  expect(await ask(many.join("\n"))).toEqual(many.map((_, id) => ({ id, result: {} })));
  await using client = new Client(SELFTEST);
  const split = `${callText("é😀", "echo", ["é😀"])}\n`;
  const bytes = Buffer.from(split);
  for (let offset = 1; offset < bytes.length; offset++) {
    // The answer shows that the server has read the first piece, with what is in front of it.
    client.send(Buffer.concat([Buffer.from(`${PING}\n`), bytes.subarray(0, offset)]));
    expect(shorten(await client.receive())).toEqual({ id: 1, result: {} });
    client.send(bytes.subarray(offset));
    expect(shorten(await client.receive())).toEqual({ id: "é😀", result: { value: "é😀" } });
  }
});

test("case 28: a line of 17 MiB is skipped, one of 15.9 MiB is not; neither stays in memory", async () => {
  await using client = new Client(SELFTEST);
  const lines = Array.from({ length: 8 }, (_, id) => longEcho(id, 17 * MIB));
  for (const line of lines) {
    client.send(line);
    const { id, error } = await client.receive();
    expect<object>({ id, code: error?.code, ...error?.data.details }).toEqual({
      id: null,
      code: -32600,
      reason: "message_too_large",
    });
  }
  client.send(longEcho(9, 15.9 * MIB));
  expect(shorten(await client.receive())).toEqual({ id: 9, result: {} });
  expect(await residentBytes(client.child.pid)).toBeLessThan(200 * MIB);
});

test("case 29: a value of 65 levels is refused, one of a million too, and a prototype is a member", async () => {
  const nested = (levels: number) =>
    `{"jsonrpc":"2.0","id":1,"method":"echo","params":[${"[".repeat(levels - 2)}${"]".repeat(levels - 2)}]}`;
  expect(await ask(nested(64))).toMatchObject([{ id: 1, result: {} }]);
  for (const levels of [65, 1_000_000]) {
    const [answer] = await ask(`${nested(levels)}\n${PING}`);
    expect([-32600, -32602]).toContain((answer as { code: number }).code);
  }
  const proto = `{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":{"__proto__":{"polluted":1}}}}`;
  const { text } = await converse([`${proto}\n`]);
  expect(text).toBe('{"jsonrpc":"2.0","id":1,"result":{"value":{"__proto__":{"polluted":1}}}}\n');
  const unknown = `{"jsonrpc":"2.0","id":1,"method":"echo","params":{"__proto__":{"value":1}}}`;
  expect(await ask(unknown)).toEqual([{ id: 1, code: -32602 }]);
});

test("case 31: headers in any order and case; the length is in bytes", async () => {
  const call = callText(1, "echo", ["é😀"]);
  const length = `Content-Length: ${Buffer.byteLength(call)}\r\n`;
  const type = "Content-Type: application/vscode-jsonrpc; charset=";
  for (const headers of [
    length,
    length.toLowerCase(),
    `${type}utf-8\r\n${length}`,
    `${length}${type}utf8\r\n`,
  ]) {
    const { exit, text } = await converse([frame(call, headers)]);
    expect(exit).toBe(0);
    expect(unframe(text)).toEqual(['{"jsonrpc":"2.0","id":1,"result":{"value":"é😀"}}']);
  }
});

test("case 32: frames in any pieces; one that cannot be read on ends the server with 65", async () => {
  const [one, two] = [frame(callText(1, "echo", ["é😀"])), frame(PING.replace("1,", "2,"))];
  const whole = await converse([one + two]);
  expect(unframe(whole.text)).toHaveLength(2);
  const bytes = Buffer.from(one + two);
  expect(await converse([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  for (const bad of [
    "Content-Length: x\r\n\r\n{}",
    "Content-Type: x\r\n\r\n{}",
    "Content-Length: -1\r\n\r\n{}",
    "Content-Length: 99999999999999999999\r\n\r\n{}",
    `Content-Length: ${17 * MIB}\r\n\r\n{}`,
    `X-Filler: ${"x".repeat(9000)}\r\nContent-Length: 2\r\n\r\n{}`,
    "Content-Length: 2\r\nContent-Type: x; charset=latin1\r\n\r\n{}",
    "Content-Length: 100\r\n\r\n{}",
  ]) {
    const { exit, text } = await converse([two + bad]);
    expect({ bad, exit }).toEqual({ bad, exit: 65 });
    expect(unframe(text).map((item) => shorten(JSON.parse(item)))).toEqual([
      { id: 2, result: {} },
      { id: null, code: -32700 },
    ]);
  }
});

test("case 33: a connection of lines stays one, and the server does not speak first", async () => {
  expect(await ask(`${PING}\nContent-Length: 5\n${PING}`)).toEqual([
    { id: 1, result: {} },
    { id: null, code: -32700 },
    { id: 1, result: {} },
  ]);
  for (const framing of ["auto", "ndjson", "lsp"])
    expect(await converse([], [...SELFTEST, "--framing", framing])).toEqual({ exit: 0, text: "", log: "" });
});
