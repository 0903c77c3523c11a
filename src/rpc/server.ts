import { MosaicError } from "../base/errors.ts";
import { listActionMethods } from "./actionmethods.ts";
import { Caller } from "./caller.ts";
import { type Frame, FrameReader, type Framing, frameMessage } from "./framing.ts";
import { listJobMethods } from "./jobmethods.ts";
import { JobRunner } from "./jobrunner.ts";
import { Log } from "./log.ts";
import { INVALID_REQUEST, PARSE_ERROR } from "./messages.ts";
import type { Method } from "./method.ts";
import { Mosaics } from "./mosaics.ts";
import { listSelftestMethods } from "./selftest.ts";
import { listServerMethods } from "./servermethods.ts";
import { Session } from "./session.ts";
import { MessageWriter } from "./streams.ts";
import { listEventMethods, Subscriptions } from "./subscriptions.ts";

/** How a server is started. */
export interface ServeOptions {
  readonly version: string;
  /** The config that it is bound to; each call names its mosaic when absent. */
  readonly mosaic: string | undefined;
  readonly framing: Framing | "auto";
  readonly selftest: boolean;
  /** Aborted when the process shall end. */
  readonly signal: AbortSignal;
  /** Ends the process at once, for when nobody reads what would have to be written first. */
  readonly abandon: () => void;
}

const EXIT_FRAME_BROKEN = 65;
const EXIT_OUTPUT_LOST = 74;
const EXIT_STOPPED = 1;
const SHUTDOWN_DEADLINE_MS = 1_500;

/** Serves JSON-RPC on standard input and output until the input ends; gives the exit status. Throws as `openMosaic` for the bound one. */
export async function serve(options: ServeOptions): Promise<number> {
  const mosaics = new Mosaics();
  if (options.mosaic !== undefined) await mosaics.config(options.mosaic);
  const server = new Server(options, mosaics);
  try {
    return await server.run();
  } finally {
    mosaics.close();
  }
}

/** The OpenRPC document of a server, for all mosaics or for one. */
export async function describeOpenRpc(version: string, mosaic: string | undefined): Promise<object> {
  const facts = { version, mosaic, framing: () => "ndjson" };
  const sink = { send: () => {}, isFull: () => false, whenReady: async () => {} };
  const mosaics = new Mosaics();
  const methods = new Map([
    ...listServerMethods(facts),
    ...listActionMethods(mosaics, mosaic),
    ...listJobMethods(mosaics, mosaic, new JobRunner()),
    ...listEventMethods(mosaics, mosaic, new Subscriptions(sink)),
  ]);
  const { describeServer } = await import("./openrpc.ts");
  return describeServer(methods, version);
}

function discoverMethod(methods: ReadonlyMap<string, Method>, version: string): Method {
  return {
    summary: "describe the methods: the OpenRPC document",
    parameters: [],
    mutates: false,
    schema: (z) => z.strictObject({}),
    result: (z) => z.looseObject({}),
    run: async () => (await import("./openrpc.ts")).describeServer(methods, version),
  };
}

class Server {
  private readonly writer = new MessageWriter();
  private readonly frames: FrameReader;
  private readonly session: Session;
  private readonly log = new Log();
  private readonly jobs = new JobRunner();
  private readonly subscriptions: Subscriptions;
  private readonly input = Bun.stdin.stream().getReader();
  private isBroken = false;

  constructor(
    private readonly options: ServeOptions,
    mosaics: Mosaics,
  ) {
    this.frames = new FrameReader(options.framing);
    const facts = {
      version: options.version,
      mosaic: options.mosaic,
      framing: () => this.frames.framing ?? "ndjson",
    };
    const send = (text: string) => this.writer.send(frameMessage(this.frames.framing ?? "ndjson", text));
    this.subscriptions = new Subscriptions({
      send,
      isFull: () => this.writer.isFull,
      whenReady: () => this.writer.whenReady(),
    });
    const methods = new Map([
      ...listServerMethods(facts),
      ...listActionMethods(mosaics, options.mosaic),
      ...listJobMethods(mosaics, options.mosaic, this.jobs),
      ...listEventMethods(mosaics, options.mosaic, this.subscriptions),
    ]);
    const description = discoverMethod(methods, options.version);
    this.session = new Session({
      methods: new Map([
        ...methods,
        ["rpc.discover", description],
        ...(options.selftest ? listSelftestMethods() : []),
      ]),
      caller: new Caller(this.jobs, send),
      send,
      isLsp: () => this.frames.framing === "lsp",
      log: (message, more) => this.log.write("warn", message, more),
    });
  }

  async run(): Promise<number> {
    const { signal } = this.options;
    const stop = () => this.stop();
    signal.addEventListener("abort", stop);
    try {
      await this.readAll();
      if (this.session.exitStatus !== undefined) this.cancelAll();
      await this.session.whenIdle();
      await this.jobs.whenIdle();
      await this.writer.whenFlushed();
      return this.findStatus();
    } finally {
      signal.removeEventListener("abort", stop);
      this.subscriptions.close();
    }
  }

  private findStatus(): number {
    if (this.options.signal.aborted) return EXIT_STOPPED;
    if (this.writer.failure !== undefined) return EXIT_OUTPUT_LOST;
    if (this.isBroken) return EXIT_FRAME_BROKEN;
    return this.session.exitStatus ?? 0;
  }

  /** Ends when the input does, or when nothing more is to be read. */
  private async readAll(): Promise<void> {
    while (this.isReading()) {
      const { done, value } = await this.input.read();
      if (!this.isReading()) return;
      for (const frame of done ? this.frames.end() : this.frames.push(value)) this.take(frame);
      if (done) return;
      await this.writer.whenReady();
    }
  }

  private isReading(): boolean {
    const isLost = this.writer.failure !== undefined || this.isBroken;
    return !isLost && !this.options.signal.aborted && this.session.exitStatus === undefined;
  }

  private take(frame: Frame): void {
    if (this.session.exitStatus !== undefined) return;
    if (frame.kind === "message") this.session.handle(frame.bytes);
    else if (frame.kind === "too-large")
      this.session.refuse(INVALID_REQUEST, "message_too_large", "The message is too long; it was skipped");
    else {
      this.isBroken = true;
      this.session.refuse(PARSE_ERROR, "parse_error", `The frames cannot be read on: ${frame.reason}`);
    }
  }

  /** Answers what is at work, and ends also where nobody reads the answers. */
  private stop(): void {
    setTimeout(this.options.abandon, SHUTDOWN_DEADLINE_MS);
    this.cancelAll();
    this.input.cancel().catch(() => {});
  }

  private cancelAll(): void {
    this.session.cancelAll();
    this.jobs.cancelAll();
  }
}

/** The framing that an option says. Throws INVALID_ARGUMENT. */
export function parseFraming(text: string): Framing | "auto" {
  if (text === "auto" || text === "ndjson" || text === "lsp") return text;
  throw new MosaicError(
    "INVALID_ARGUMENT",
    `Unknown framing ${JSON.stringify(text)}: expected auto, ndjson or lsp`,
    {
      framing: text,
    },
  );
}
