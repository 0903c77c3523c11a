import { join } from "node:path";
import { isExpected } from "./calls.ts";

const MOCTL = join(import.meta.dir, "../../dist/moctl");
const ANSWER_LIMIT_MS = 60_000;

interface Message {
  readonly id?: unknown;
  readonly error?: { readonly message: string; readonly data: { readonly code: string } };
}

/** A server and the calls that it has not answered. Throws, wherever it can, what was wrong. */
export class Connection {
  readonly server;
  /** How often each outcome came. */
  readonly outcomes: Record<string, number> = {};
  private readonly waiting = new Map<number, string>();
  private readonly reading: Promise<unknown>;
  private fault: Error | undefined;
  private calls = 0;

  constructor(config: string) {
    this.server = Bun.spawn([MOCTL, config, "rpc"], { stdio: ["pipe", "pipe", "pipe"] });
    this.reading = Promise.all([this.read(), this.readLog()]);
  }

  /** The ids of the calls that are not answered. */
  get open(): readonly number[] {
    return [...this.waiting.keys()];
  }

  /** A call as a text, counted as one that must be answered. */
  begin({ method, params }: { method: string; params: object }): string {
    const id = ++this.calls;
    const text = JSON.stringify({ jsonrpc: "2.0", id, method, params });
    this.waiting.set(id, text);
    return text;
  }

  send(line: string): void {
    this.server.stdin.write(`${line}\n`);
    Promise.resolve(this.server.stdin.flush()).catch(() => {});
  }

  /** Waits until at most so many calls are open. */
  async untilOpen(most: number): Promise<void> {
    const deadline = performance.now() + ANSWER_LIMIT_MS;
    while (this.waiting.size > most) {
      if (this.fault) throw this.fault;
      if (performance.now() > deadline)
        throw new Error(`no answer to ${[...this.waiting.values()].join(" ")}`);
      await Bun.sleep(2);
    }
  }

  /** Ends the input, or sends a signal; every call must be answered, and the status be the right one. */
  async end(signal?: "SIGTERM"): Promise<void> {
    if (signal) this.server.kill(signal);
    else this.server.stdin.end();
    const limit = setTimeout(() => this.server.kill("SIGKILL"), ANSWER_LIMIT_MS);
    await this.reading;
    const status = await this.server.exited;
    clearTimeout(limit);
    if (this.fault) throw this.fault;
    // What lies in the pipe when the signal comes is not read any more.
    if (status !== (signal ? 143 : 0)) throw new Error(`the server ended with ${status}`);
    if (!signal && this.waiting.size > 0)
      throw new Error(`ended without an answer to ${[...this.waiting.values()].join(" ")}`);
  }

  /** Shows why an error is an internal one. */
  private async readLog(): Promise<void> {
    for (const line of (await this.server.stderr.text()).split("\n"))
      if (line.includes("an internal error")) console.error(`soak: ${line}`);
  }

  private async read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.server.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.take(line);
    }
    if (rest !== "") this.fault ??= new Error(`half a line: ${rest}`);
  }

  private take(line: string): void {
    try {
      for (const message of [JSON.parse(line)].flat() as Message[]) this.count(message);
    } catch (thrown) {
      this.fault ??= thrown as Error;
    }
  }

  private count({ id, error }: Message): void {
    if (typeof id === "number" && !this.waiting.has(id)) throw new Error(`${id} is answered twice`);
    const outcome = id === undefined ? "told" : (error?.data.code ?? "done");
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
    const call = this.waiting.get(Number(id)) ?? "";
    if (error && !isExpected(error.data.code, call))
      throw new Error(`${call}: ${error.data.code}: ${error.message}`);
    this.waiting.delete(Number(id));
  }
}
