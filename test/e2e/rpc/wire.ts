import { MOCTL } from "../moctl.ts";
import type { Received } from "./client.ts";

// What the tests of the protocol send and get, below the level of calls.

/** A server for all mosaics, with the methods for tests. */
export const SELFTEST = ["--rpc", "--selftest"];

/** A call as a text. */
export function callText(id: unknown, method: string, params?: unknown): string {
  return JSON.stringify({ jsonrpc: "2.0", id, method, params });
}

/** A frame of the Language Server Protocol; its length is that of the text where no headers are given. */
export function frame(text: string, headers = `Content-Length: ${Buffer.byteLength(text)}\r\n`): string {
  return `${headers}\r\n${text}`;
}

/** The texts of frames. Throws where a byte is of none, or a header is not just the one that clients read. */
export function unframe(said: string): string[] {
  const texts: string[] = [];
  let rest = Buffer.from(said);
  while (rest.length > 0) {
    const header = /^Content-Length: (\d+)\r\n\r\n/.exec(rest.toString("latin1", 0, 40));
    if (!header) throw new Error(`no frame: ${rest.toString("utf8", 0, 200)}`);
    const end = header[0].length + Number(header[1]);
    if (rest.length < end) throw new Error("a frame is not whole");
    texts.push(rest.toString("utf8", header[0].length, end));
    rest = rest.subarray(end);
  }
  return texts;
}

/** How a server ended, and all that it wrote. */
export interface Said {
  readonly exit: number | null;
  readonly text: string;
  readonly log: string;
}

/** Sends pieces one by one and ends the input. */
export async function converse(pieces: Iterable<string | Uint8Array>, args = SELFTEST): Promise<Said> {
  const child = Bun.spawn([MOCTL, ...args], {
    cwd: "/",
    stdio: ["pipe", "pipe", "pipe"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  const said = Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  for (const piece of pieces) {
    child.stdin.write(piece);
    await child.stdin.flush();
  }
  await child.stdin.end();
  const [text, log] = await said;
  return { exit: child.exitCode, text, log };
}

/** The answer to a line as what a test compares: `id` and the result, or the code of the error. */
export type Short = { id: unknown; result: unknown } | { id: unknown; code: number };

/** Checks that a message is a whole answer and nothing more. */
export function shorten(message: unknown): Short {
  const { id, result, error, ...rest } = message as Received;
  const members = Object.keys(message as object).sort();
  const wanted = error ? ["error", "id", "jsonrpc"] : ["id", "jsonrpc", "result"];
  if (members.join() !== wanted.join() || rest.jsonrpc !== "2.0")
    throw new Error(`no answer: ${JSON.stringify(message)}`);
  return error ? { id, code: error.code } : { id, result };
}

/** Sends lines to a server of its own, which must end with 0; gives its answers, those of a batch as a list. */
export async function ask(input: string | Uint8Array, args = SELFTEST): Promise<(Short | Short[])[]> {
  const { exit, text } = await converse([input], args);
  if (exit !== 0) throw new Error(`the server ended with ${exit}`);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown)
    .map((message) => (Array.isArray(message) ? message.map(shorten) : shorten(message)));
}

/** The resident memory of a process in bytes. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
