import { createHash } from "node:crypto";
import { hasEnded, type Job, JobStore } from "../api/jobs.ts";
import { MosaicError } from "../base/errors.ts";
import { type JobRequest, requireSame, waitForJob } from "./jobrunner.ts";
import { toWireError, type WireError } from "./wirecodes.ts";

const WAIT_MS = 24 * 3600 * 1000;

/** The error of the call that a request key was first used for. */
export class StoredFailure extends Error {
  constructor(readonly error: WireError) {
    super(error.message);
  }
}

/**
 * Runs a call once for its request key: a repeat gets the outcome of the first, waiting for it where it is at work. What
 * was cut off, or failed so that the same call may succeed later, is run again. Throws StoredFailure, ALREADY_EXISTS when
 * the key was used for another call.
 */
export async function runOnce(
  request: Omit<JobRequest, "run">,
  signal: AbortSignal,
  run: () => Promise<object | null>,
): Promise<object | null> {
  const store = new JobStore(request.identity, "requests");
  // A key may have any character.
  const id = createHash("sha256").update(request.id).digest("hex");
  for (;;) {
    const open = store.begin(makeEntry(id, request));
    if (open) {
      try {
        const result = await run();
        open.update({ state: "done", result });
        return result;
      } catch (thrown) {
        const error = thrown instanceof MosaicError ? toWireError(thrown) : undefined;
        const mayBeStored = error !== undefined && !error.data.retryable && error.data.code !== "INTERNAL";
        open.update(mayBeStored ? { state: "failed", error } : { state: "cancelled" });
        throw thrown;
      }
    }
    requireSame(store.get(id), request);
    const job = await waitForJob(request.identity, id, WAIT_MS, signal, "requests");
    if (job.state === "done") return job.result;
    if (job.state === "failed") throw new StoredFailure(job.error as WireError);
    if (hasEnded(job)) store.dismiss(id);
  }
}

function makeEntry(id: string, { method, params }: Omit<JobRequest, "run">): Job {
  const time = new Date().toISOString();
  return {
    id,
    kind: method,
    state: "running",
    progress: null,
    cancellable: false,
    createdAt: time,
    updatedAt: time,
    pid: process.pid,
    params,
    result: null,
    error: null,
  };
}
