import { isDeepStrictEqual } from "node:util";
import { hasEnded, type Job, JobStore, type OpenJob } from "../api/jobs.ts";
import { asMosaicError, MosaicError, quote } from "../base/errors.ts";
import { cancelled } from "./inflight.ts";
import type { Progress } from "./method.ts";
import { ProgressTeller } from "./progress.ts";
import { toWireError } from "./wirecodes.ts";

/** What is to be run in the background. */
export interface JobRequest {
  readonly identity: string;
  /** Chosen by the client, or by us. */
  readonly id: string;
  readonly method: string;
  readonly params: object;
  readonly run: (signal: AbortSignal, progress: (value: Progress) => void) => Promise<object | null>;
}

/** Runs calls in the background and keeps their state where it outlives this process. */
export class JobRunner {
  private readonly running = new Map<
    string,
    { controller: AbortController; end: Promise<void>; job: OpenJob }
  >();

  /** Begins a job and gives it; with the id of a job that is there it gives that one. Throws ALREADY_EXISTS when it is another call. */
  start(request: JobRequest): { readonly job: Job; readonly isNew: boolean } {
    const store = new JobStore(request.identity);
    const open = store.begin(makeJob(request));
    if (!open) return { job: requireSame(store.get(request.id), request), isNew: false };
    const controller = new AbortController();
    const key = keyOf(request.identity, request.id);
    const end = this.run(request, open, controller.signal).finally(() => this.running.delete(key));
    this.running.set(key, { controller, end, job: open });
    return { job: open.job, isNew: true };
  }

  /** Stops a job of this process. Throws NOT_FOUND, UNSUPPORTED for one of another process. */
  cancel(identity: string, id: string): Job {
    const job = new JobStore(identity).get(id);
    if (hasEnded(job)) return job;
    const own = this.running.get(keyOf(identity, id));
    if (!own) {
      const message = `The job ${quote(id)} is run by another process, ${job.pid}: cancel it there`;
      throw new MosaicError("UNSUPPORTED", message, { job: id, pid: job.pid });
    }
    own.job.update({ state: "cancelling" });
    own.controller.abort(cancelled("client", "The client cancelled the job; what was begun is undone"));
    return own.job.job;
  }

  cancelAll(): void {
    for (const { controller } of this.running.values())
      controller.abort(cancelled("shutdown", "The server is shutting down; what was begun is undone"));
  }

  /** Waits until no job of this process runs. */
  async whenIdle(): Promise<void> {
    while (this.running.size > 0) await Promise.all([...this.running.values()].map(({ end }) => end));
  }

  private async run(request: JobRequest, open: OpenJob, signal: AbortSignal): Promise<void> {
    const teller = new ProgressTeller(({ progress }) => open.update({ progress }));
    open.update({ state: "running" });
    try {
      const result = await request.run(signal, (value) => teller.report(value));
      teller.close();
      open.update({ state: "done", cancellable: false, result });
    } catch (thrown) {
      teller.close();
      const error = asMosaicError(thrown);
      const state = error.code === "CANCELLED" ? "cancelled" : "failed";
      open.update({ state, cancellable: false, error: toWireError(error) });
    }
  }
}

/** Waits until a job has ended, at most `timeoutMs`; gives it as it is then. Throws NOT_FOUND. */
export async function waitForJob(
  identity: string,
  id: string,
  timeoutMs: number,
  signal: AbortSignal,
  kind?: string,
): Promise<Job> {
  const store = new JobStore(identity, kind);
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const job = store.get(id);
    if (hasEnded(job) || performance.now() >= deadline) return job;
    signal.throwIfAborted();
    await Bun.sleep(Math.min(20, Math.max(0, deadline - performance.now())));
  }
}

function keyOf(identity: string, id: string): string {
  return `${identity}/${id}`;
}

function makeJob({ id, method, params }: JobRequest): Job {
  const time = new Date().toISOString();
  return {
    id,
    kind: method,
    state: "queued",
    progress: null,
    cancellable: true,
    createdAt: time,
    updatedAt: time,
    pid: process.pid,
    params,
    result: null,
    error: null,
  };
}

/** A repeat of the call that began the job. Throws ALREADY_EXISTS. */
export function requireSame(job: Job, { method, params }: Pick<JobRequest, "method" | "params">): Job {
  if (job.kind === method && isDeepStrictEqual(job.params, JSON.parse(JSON.stringify(params)))) return job;
  const message = `There is ${quote(job.id)} already, for ${job.kind} with other params`;
  throw new MosaicError("ALREADY_EXISTS", message, {
    reason: "request_key",
    job: job.id,
    diff: { method: { asked: method, found: job.kind }, params: { asked: params, found: job.params } },
  });
}
