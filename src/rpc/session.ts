import { asMosaicError, quote } from "../base/errors.ts";
import { findNearest } from "../base/nearest.ts";
import { formatAnswer, formatFault, type Outcome } from "./answers.ts";
import type { Caller } from "./caller.ts";
import { InFlight } from "./inflight.ts";
import {
  type Call,
  fault,
  type Id,
  INVALID_REQUEST,
  type Item,
  METHOD_NOT_FOUND,
  NULL_ID,
  readMessage,
} from "./messages.ts";
import type { CallContext, Method } from "./method.ts";
import { StoredFailure } from "./requestkeys.ts";
import { checkParams, InvalidParams } from "./values.ts";
import { makeWireError, toWireError, type WireError } from "./wirecodes.ts";

/** What a session needs of the connection that it serves. */
export interface SessionOptions {
  readonly methods: ReadonlyMap<string, Method>;
  readonly caller: Caller;
  /** Sends a text as one message. */
  readonly send: (text: string) => void;
  /** Whether the client is one of the Language Server Protocol, which says some things in its own way. */
  readonly isLsp: () => boolean;
  readonly log: (message: string, more?: object) => void;
}

/** Answers the messages of one connection. */
export class Session {
  private readonly inFlight = new InFlight();
  private readonly answering = new Set<Promise<void>>();
  private isShutDown = false;
  private lostNotifications = 0;
  /** The exit status that the client asked for with `exit`; undefined until then. */
  exitStatus: number | undefined;

  constructor(private readonly options: SessionOptions) {}

  /** Takes a message. Its answers are sent when they are there. */
  handle(bytes: Uint8Array): void {
    const message = readMessage(bytes);
    if (!message.isBatch) {
      this.handleItem(message.items[0], this.options.send);
      return;
    }
    const expected = message.items.filter(isAnswered).length;
    const answers: string[] = [];
    const collect = (answer: string) => {
      answers.push(answer);
      if (answers.length === expected) this.options.send(`[${answers.join(",")}]`);
    };
    for (const item of message.items) this.handleItem(item, collect);
  }

  /** Answers what is no message. */
  refuse(code: number, reason: string, message: string): void {
    this.options.send(formatFault(fault(code, reason, message)));
  }

  /** Stops what is at work; each call is answered. */
  cancelAll(): void {
    this.inFlight.cancelAll();
  }

  /** Waits until everything is answered. */
  async whenIdle(): Promise<void> {
    while (this.answering.size > 0) await Promise.all(this.answering);
  }

  private handleItem(item: Item, reply: (answer: string) => void): void {
    if (item.kind === "fault") reply(formatFault(item));
    else if (item.kind === "answer") {
      if (!this.options.isLsp())
        reply(
          formatFault(
            fault(INVALID_REQUEST, "invalid_request", "This is an answer, and nothing was asked", item.id),
          ),
        );
    } else if (item.id === undefined) this.handleNotification(item);
    else this.handleCall(item, item.id, reply);
  }

  /** What is answered at once costs no promise: a client may ask it a hundred thousand times a second. */
  private handleCall(call: Call, id: Id, reply: (answer: string) => void): void {
    const method = this.isShutDown ? undefined : this.options.methods.get(call.method);
    if (this.inFlight.has(id)) reply(formatDuplicate(id));
    else if (call.method === "shutdown") reply(formatAnswer(id, this.shutDown()));
    else if (!method) reply(formatAnswer(id, { error: this.describeUnknown(call.method) }));
    else if (method.isImmediate) reply(this.formatSafely(id, this.performAtOnce(method, call)));
    else this.begin(this.answer(method, call, id, reply));
  }

  private begin(answer: Promise<void>): void {
    this.answering.add(answer);
    void answer.finally(() => this.answering.delete(answer));
  }

  private performAtOnce(method: Method, { params }: Call): Outcome {
    try {
      const checked = checkParams(method, params);
      if ("error" in checked) return checked;
      return { result: method.run(checked.values, IMMEDIATE) as object };
    } catch (thrown) {
      return { error: this.describeFailure(thrown) };
    }
  }

  private handleNotification({ method, params }: Call): void {
    const named = params as { id?: unknown; requestId?: unknown };
    if (method === "$/cancelRequest") this.inFlight.cancel(named.id);
    else if (method === "notifications/cancelled") this.inFlight.cancel(named.requestId);
    else if (method === "exit") this.exitStatus = this.isShutDown ? 0 : 1;
    else if (!method.startsWith("$/")) {
      // A change without an answer is one that nobody knows of.
      this.lostNotifications++;
      this.options.log("a notification was not run: only calls with an id are", {
        method,
        count: this.lostNotifications,
      });
    }
  }

  private async answer(method: Method, call: Call, id: Id, reply: (answer: string) => void): Promise<void> {
    const outcome = await this.perform(method, call, this.inFlight.begin(id));
    this.inFlight.end(id);
    reply(this.formatSafely(id, outcome));
  }

  private formatSafely(id: Id, outcome: Outcome): string {
    try {
      return formatAnswer(id, outcome);
    } catch (thrown) {
      const message = `The result cannot be written as JSON: ${(thrown as Error).message}`;
      return formatAnswer(id, {
        error: makeWireError(-32603, message, "INTERNAL", {}, { sideEffects: "unknown" }),
      });
    }
  }

  /** Never throws. */
  private async perform(
    method: Method,
    { method: name, params }: Call,
    controller: AbortController,
  ): Promise<Outcome> {
    try {
      const checked = checkParams(method, params);
      if ("error" in checked) return checked;
      return { result: await this.options.caller.run({ name, method, ...checked }, controller) };
    } catch (thrown) {
      return { error: this.describeFailure(thrown) };
    }
  }

  private describeFailure(thrown: unknown): WireError {
    if (thrown instanceof InvalidParams) return thrown.toWireError();
    if (thrown instanceof StoredFailure) return thrown.error;
    const error = asMosaicError(thrown);
    if (error.code === "INTERNAL")
      this.options.log("an internal error", {
        stack: String((error.cause as Error | undefined)?.stack ?? error.stack),
      });
    return toWireError(error);
  }

  private shutDown(): Outcome {
    this.isShutDown = true;
    return { result: null };
  }

  private describeUnknown(method: string) {
    const suggest = findNearest(method, [...this.options.methods.keys()]) ?? null;
    const hint = suggest ? `; did you mean ${suggest}?` : "";
    const why = this.isShutDown
      ? "the server was told to shut down"
      : `there is no method ${quote(method.slice(0, 80))}${hint}`;
    return makeWireError(METHOD_NOT_FOUND, `Cannot run it: ${why}`, "UNSUPPORTED", {
      reason: "method_not_found",
      method,
      suggest,
    });
  }
}

/** What a call gets that is over before anything could stop it. */
const IMMEDIATE: CallContext = { meta: {}, signal: new AbortController().signal, progress: () => {} };

function formatDuplicate(id: Id): string {
  const details = { reason: "duplicate_id", duplicateId: JSON.parse(id) };
  const error = makeWireError(
    INVALID_REQUEST,
    "A call with this id is not answered yet",
    "INVALID_ARGUMENT",
    details,
  );
  return formatAnswer(NULL_ID, { error });
}

function isAnswered(item: Item): boolean {
  return item.kind !== "call" || item.id !== undefined;
}
