import { MosaicError } from "../base/errors.ts";

/** How many calls work at a time, and how many wait. */
export const RUNNING_MAX = 32;
export const QUEUED_MAX = 256;

interface Waiting {
  readonly keys: readonly string[];
  readonly start: () => void;
}

/** Lets calls work side by side, those with a key in common one after the other in the order in which they came. */
export class Scheduler {
  private readonly busy = new Set<string>();
  private waiting: Waiting[] = [];
  private running = 0;
  private readonly idle: (() => void)[] = [];

  /** Whether a call with one of these keys is at work or waits. */
  isBusy(keys: readonly string[]): boolean {
    const isTaken = (key: string) =>
      this.busy.has(key) || this.waiting.some((other) => other.keys.includes(key));
    return keys.some(isTaken);
  }

  /** Runs `work` when its turn comes. Throws UNAVAILABLE when too many wait, or the reason of `signal`; then it is not run. */
  async run<T>(keys: readonly string[], signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.enter(keys, signal);
    try {
      return await work();
    } finally {
      this.leave(keys);
    }
  }

  /** Waits until nothing is at work and nothing waits. */
  async whenIdle(): Promise<void> {
    if (this.running === 0 && this.waiting.length === 0) return;
    await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  private enter(keys: readonly string[], signal: AbortSignal): Promise<void> | undefined {
    signal.throwIfAborted();
    if (this.running < RUNNING_MAX && !this.isBusy(keys)) {
      this.begin(keys);
      return undefined;
    }
    if (this.waiting.length >= QUEUED_MAX) {
      const message = `The server is overloaded: ${RUNNING_MAX} calls work and ${QUEUED_MAX} wait; nothing was done`;
      throw new MosaicError("UNAVAILABLE", message, { reason: "overloaded", retryAfterMs: 100 });
    }
    return new Promise((resolve, reject) => {
      const call: Waiting = { keys, start: resolve };
      this.waiting.push(call);
      signal.addEventListener("abort", () => {
        if (!this.waiting.includes(call)) return;
        this.waiting = this.waiting.filter((other) => other !== call);
        reject(signal.reason);
        this.startWaiting();
        this.tellIdle();
      });
    });
  }

  private begin(keys: readonly string[]): void {
    this.running++;
    for (const key of keys) this.busy.add(key);
  }

  private leave(keys: readonly string[]): void {
    this.running--;
    for (const key of keys) this.busy.delete(key);
    this.startWaiting();
    this.tellIdle();
  }

  private tellIdle(): void {
    if (this.running === 0 && this.waiting.length === 0) for (const resolve of this.idle.splice(0)) resolve();
  }

  /** Starts those whose keys are free and that no earlier one waits for. */
  private startWaiting(): void {
    const wanted = new Set<string>();
    const left: Waiting[] = [];
    for (const call of this.waiting) {
      const isFree = call.keys.every((key) => !this.busy.has(key) && !wanted.has(key));
      if (isFree && this.running < RUNNING_MAX) {
        this.begin(call.keys);
        call.start();
      } else left.push(call);
      for (const key of call.keys) wanted.add(key);
    }
    this.waiting = left;
  }
}
