import { MOCTL } from "../moctl.ts";

// A client of the tests: it sends bytes as they are, and takes the lines of the server one by one.

const LIMIT_MS = 60_000;

/** A message of the server. */
export interface Received {
  readonly jsonrpc: string;
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: {
    code: number;
    message: string;
    data: { code: string; sideEffects: string; details: Record<string, unknown> };
  };
  readonly method?: string;
  readonly params?: Record<string, unknown>;
}

/** A server at work, and what it said. */
export class Client {
  readonly child;
  private readonly lines: string[] = [];
  private readonly reading: Promise<void>;
  private rest = "";
  private count = 0;

  constructor(args: readonly string[], runDirectory = process.env.MOSAIC_RUN_DIR) {
    this.child = Bun.spawn([MOCTL, ...args], {
      cwd: "/",
      env: { ...process.env, ...(runDirectory && { MOSAIC_RUN_DIR: runDirectory }) },
      stdio: ["pipe", "pipe", "pipe"],
      timeout: LIMIT_MS,
      killSignal: "SIGKILL",
    });
    this.reading = this.read();
  }

  /** Sends text or bytes as they are. */
  send(text: string | Uint8Array): void {
    this.child.stdin.write(text);
    this.child.stdin.flush();
  }

  /** Sends a call; gives its id. */
  begin(method: string, params?: unknown): number {
    const id = ++this.count;
    this.send(`${JSON.stringify({ jsonrpc: "2.0", id, method, ...(params !== undefined && { params }) })}\n`);
    return id;
  }

  /** Sends a notification. */
  notify(method: string, params?: unknown): void {
    this.send(`${JSON.stringify({ jsonrpc: "2.0", method, params })}\n`);
  }

  /** The next line of the server. */
  async line(): Promise<string> {
    const deadline = performance.now() + LIMIT_MS;
    while (this.lines.length === 0) {
      if (performance.now() > deadline) throw new Error("the server said nothing");
      await Bun.sleep(1);
    }
    return this.lines.shift() ?? "";
  }

  async receive(): Promise<Received> {
    return JSON.parse(await this.line()) as Received;
  }

  /** Calls a method; gives the answer to it, whatever else comes before. */
  async call(method: string, params?: unknown): Promise<Received> {
    const id = this.begin(method, params);
    for (;;) {
      const message = await this.receive();
      if (message.id === id) return message;
    }
  }

  /** Ends the input; gives how the server ends and what it said that was not taken. */
  async end(): Promise<{ exit: number | null; rest: string[]; stderr: string }> {
    this.child.stdin.end();
    return this.ended();
  }

  async ended(): Promise<{ exit: number | null; rest: string[]; stderr: string }> {
    const stderr = await this.child.stderr.text();
    await this.reading;
    await this.child.exited;
    return { exit: this.child.exitCode, rest: [...this.lines, ...(this.rest ? [this.rest] : [])], stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }

  private async read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.child.stdout) {
      const parts = (this.rest + decoder.decode(chunk, { stream: true })).split("\n");
      this.rest = parts.pop() ?? "";
      this.lines.push(...parts);
    }
  }
}
