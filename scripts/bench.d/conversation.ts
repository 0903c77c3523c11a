import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "./measure.ts";

const LF = 10;

/**
 * A program that answers each line with a line, over two pipes. They are read and written by plain system calls, which
 * wait: what a client with an event loop would add is not measured.
 */
export class Conversation {
  private readonly child;
  private readonly input: number;
  private readonly output: number;
  private readonly buffer = Buffer.alloc(256 * 1024);

  /** @param directory where the pipes are made, under the name */
  constructor(directory: string, name: string, argv: readonly string[]) {
    const [input, output] = ["in", "out"].map((end) => join(directory, `${name}.${end}`)) as [string, string];
    runProgram({ argv: ["mkfifo", input, output] });
    // Opened for both, a pipe does not wait for the other end.
    this.input = openSync(input, constants.O_RDWR);
    this.output = openSync(output, constants.O_RDWR);
    const ends = [openSync(input, constants.O_RDONLY), openSync(output, constants.O_WRONLY)] as const;
    this.child = Bun.spawn([...argv], { cwd: directory, stdio: [...ends, "inherit"] });
    for (const fd of ends) closeSync(fd);
  }

  /** Sends a line and waits for its answer. */
  ask(line: Buffer): void {
    this.send(line);
    this.receive();
  }

  /** Calls a method and gives its result. Throws when it fails. */
  call(method: string, params?: object): unknown {
    this.send(formatCall(1, method, params));
    const { result, error } = JSON.parse(this.receive().toString()) as { result?: unknown; error?: unknown };
    if (error !== undefined) throw new Error(`${method} failed: ${JSON.stringify(error)}`);
    return result;
  }

  send(lines: Buffer): void {
    for (let sent = 0; sent < lines.length; ) sent += writeSync(this.input, lines, sent);
  }

  /** Waits for at least one answer, and gives all that are there, whole. */
  receive(): Buffer {
    let bytes = 0;
    do bytes += readSync(this.output, this.buffer, bytes, this.buffer.length - bytes, null);
    while (this.buffer[bytes - 1] !== LF);
    return this.buffer.subarray(0, bytes);
  }

  /** Sends a line so many times without waiting for each answer, and waits for all of them; they fill no pipe. */
  flood(line: Buffer, count: number): void {
    const BATCH = 200;
    const lines = Buffer.concat(Array.from({ length: BATCH }, () => line));
    let [sent, answered] = [0, 0];
    while (answered < count) {
      for (; sent < count && sent - answered <= BATCH; sent += BATCH) this.send(lines);
      answered += countLines(this.receive());
    }
  }

  /** The memory of the program now, in bytes. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  /** Ends its input. Throws when it fails. */
  async end(): Promise<void> {
    closeSync(this.input);
    const status = await this.child.exited;
    closeSync(this.output);
    if (status !== 0) throw new Error(`the other end of a conversation ended with ${status}`);
  }
}

/** A call as the line that is sent. */
export function formatCall(id: number, method: string, params?: object): Buffer {
  return Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
}

/** The lines of what was received. */
export function countLines(bytes: Buffer): number {
  let count = 0;
  for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, end + 1)) count++;
  return count;
}
