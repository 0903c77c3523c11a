import { MosaicError } from "../base/errors.ts";
import { formatNotification } from "./answers.ts";
import { cancelled } from "./inflight.ts";
import type { JobRunner } from "./jobrunner.ts";
import type { Meta } from "./meta.ts";
import type { CallContext, Method, Progress } from "./method.ts";
import { ProgressTeller } from "./progress.ts";
import { runOnce } from "./requestkeys.ts";
import { Scheduler, type Turn } from "./scheduler.ts";

/** A call whose params were checked. */
export interface CheckedCall {
  readonly name: string;
  readonly method: Method;
  readonly values: Readonly<Record<string, unknown>>;
  readonly meta: Meta;
}

/** Runs calls in their turn: with a deadline, with progress, in the background, once for a request key. */
export class Caller {
  private readonly scheduler = new Scheduler();

  constructor(
    private readonly jobs: JobRunner,
    private readonly send: (text: string) => void,
  ) {}

  /** Gives the result of a call. Throws what its method throws, CANCELLED, LOCKED, UNAVAILABLE. */
  async run(call: CheckedCall, controller: AbortController): Promise<object | null> {
    const { method, meta, values } = call;
    const keys = method.keys?.(values);
    if (keys && meta.nowait && this.scheduler.isBusy(keys)) throw pending(keys);
    // Before anything is awaited: the order of calls is that in which they came.
    const turn = keys && this.scheduler.take(keys);
    if (meta.background) return this.runInBackground(call, turn);
    const deadline = startDeadline(meta.timeoutMs, controller);
    try {
      return await this.runInTurn(call, turn, controller.signal);
    } finally {
      clearTimeout(deadline);
      turn?.end();
    }
  }

  private async runInTurn(
    call: CheckedCall,
    turn: Turn | undefined,
    signal: AbortSignal,
  ): Promise<object | null> {
    if (turn) await Promise.race([turn.ready, whenAborted(signal)]);
    signal.throwIfAborted();
    const { name, method, values, meta } = call;
    const teller = new ProgressTeller((value) => this.tellProgress(meta, value));
    const context: CallContext = { meta, signal, progress: (value) => teller.report(value) };
    const run = async () => method.run(values, context);
    try {
      if (meta.requestKey === undefined || !method.storage) return await run();
      const identity = await method.storage(values);
      return await runOnce({ identity, id: meta.requestKey, method: name, params: values }, signal, run);
    } finally {
      teller.close();
    }
  }

  private async runInBackground(
    { name, method, values, meta }: CheckedCall,
    turn: Turn | undefined,
  ): Promise<object> {
    try {
      if (!method.storage)
        throw new MosaicError("UNSUPPORTED", `${name} does not run in the background`, { method: name });
      const identity = await method.storage(values);
      const run = async (signal: AbortSignal, progress: (value: Progress) => void) => {
        try {
          if (turn) await Promise.race([turn.ready, whenAborted(signal)]);
          return await method.run(values, { meta, signal, progress });
        } finally {
          turn?.end();
        }
      };
      const id = meta.jobId ?? crypto.randomUUID();
      const { job, isNew } = this.jobs.start({ identity, id, method: name, params: values, run });
      if (!isNew) turn?.end();
      return { job };
    } catch (thrown) {
      turn?.end();
      throw thrown;
    }
  }

  private tellProgress({ progressToken: token }: Meta, value: Progress): void {
    if (token !== undefined) this.send(formatNotification("$/progress", { token, value }));
  }
}

/** Rejects with the reason of a signal when it is aborted. */
function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function startDeadline(timeoutMs: number | undefined, controller: AbortController): Timer | undefined {
  if (timeoutMs === undefined) return undefined;
  const message = `The call was not done in ${timeoutMs} ms; what was begun is undone`;
  return setTimeout(() => controller.abort(cancelled("deadline", message)), timeoutMs);
}

function pending(keys: readonly string[]): MosaicError {
  const message = `Another call works on ${keys.join(", ")}, and this one was not to wait`;
  return new MosaicError("LOCKED", message, { reason: "operation_pending", keys });
}
