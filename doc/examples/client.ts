import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

// A client of moctl's JSON-RPC server for Bun: client.ts CONFIG [MOCTL]
//
// It makes two volumes at a time, says what it was told of them, and drops them again. The protocol is in doc/rpc.txt.

interface Failure {
  readonly message: string;
  readonly data: { readonly code: string; readonly details: object };
}

interface Message {
  readonly id?: number;
  readonly result?: object;
  readonly error?: Failure;
  readonly method?: string;
  readonly params?: { readonly type: string; readonly data: { readonly volume: string } };
}

/** The error of an answer. Its message is for people; `code` is one of moctl.txt and decides. */
class CallFailed extends Error {
  readonly code: string;
  readonly details: object;

  constructor({ message, data }: Failure) {
    super(message);
    this.code = data.code;
    this.details = data.details;
  }
}

/** A server of its own, to which any number of calls may be under way. */
class Client {
  private readonly server: ChildProcess;
  private readonly waiting = new Map<number, PromiseWithResolvers<object>>();
  private calls = 0;
  /** Gets the events of subscriptions. */
  onEvent: (event: NonNullable<Message["params"]>) => void = () => {};

  constructor(command: string, args: readonly string[]) {
    this.server = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    const { stdout } = this.server;
    if (stdout) createInterface({ input: stdout }).on("line", (line) => this.receive(JSON.parse(line)));
    this.server.on("error", (error) => this.fail(error));
    this.server.on("close", (status) => this.fail(new Error(`the server ended with status ${status}`)));
  }

  /** Gives the result of a call. Throws CallFailed. */
  call(method: string, params: object = {}): Promise<object> {
    const id = ++this.calls;
    const answer = Promise.withResolvers<object>();
    this.waiting.set(id, answer);
    this.server.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    return answer.promise;
  }

  /** Ends the input: what is at work ends, and then the server. */
  close(): void {
    this.server.stdin?.end();
  }

  private receive({ id, result, error, method, params }: Message): void {
    if (method === "$/event" && params) this.onEvent(params);
    if (id === undefined) return;
    const answer = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) answer?.reject(new CallFailed(error));
    else answer?.resolve(result ?? {});
  }

  private fail(error: Error): void {
    for (const answer of this.waiting.values()) answer.reject(error);
    this.waiting.clear();
  }
}

const [config, moctl = "moctl"] = process.argv.slice(2);
if (config === undefined) throw new Error("usage: client.ts CONFIG [MOCTL]");

const client = new Client(moctl, [config, "rpc"]);
try {
  const told = Promise.withResolvers<void>();
  let events = 0;
  client.onEvent = ({ type, data }) => {
    console.log("event:", type, data.volume);
    if (++events === 2) told.resolve();
  };
  await client.call("events.subscribe", { types: ["created"] });
  const create = { kind: "fs", sizeBytes: 64 * 1024 ** 2 };
  await Promise.all(["one", "two"].map((volume) => client.call("volume.create", { volume, ...create })));
  await told.promise;
  const { volumes } = (await client.call("volume.list")) as { volumes: { name: string }[] };
  console.log("volumes:", volumes.map(({ name }) => name).join(", "));
  const failure = await client
    .call("volume.create", { volume: "one", ...create, kind: "disk" })
    .catch((error) => error);
  if (failure instanceof CallFailed) console.log("failed:", failure.code);
  await Promise.all(["one", "two"].map((volume) => client.call("volume.drop", { volume })));
} finally {
  client.close();
}
