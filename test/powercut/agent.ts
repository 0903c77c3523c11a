import { JSONRPCClient } from "json-rpc-2.0";
import { MOCTL } from "../e2e/moctl.ts";

/** A server of moctl for one mosaic, to which any number of calls may be under way. */
export class Agent {
  private readonly server;
  private readonly client;

  constructor(config: string) {
    const server = Bun.spawn([MOCTL, config, "rpc"], { stdio: ["pipe", "pipe", "inherit"] });
    this.server = server;
    this.client = new JSONRPCClient((request) => {
      server.stdin.write(`${JSON.stringify(request)}\n`);
      server.stdin.flush();
    });
    void this.read();
  }

  /** The result of a call. */
  async call<Result>(method: string, params: object = {}): Promise<Result> {
    return (await this.client.request(method, params)) as Result;
  }

  /** Ends the server when all is answered. */
  async end(): Promise<void> {
    this.server.stdin.end();
    await this.server.exited;
  }

  private async read(): Promise<void> {
    let rest = "";
    for await (const text of this.server.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.client.receive(JSON.parse(line));
    }
    this.client.rejectAllPendingRequests("the server ended");
  }
}
