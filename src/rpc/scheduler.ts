import { MosaicError } from "../base/errors.ts";

/** How many calls work at a time. */
export const RUNNING_MAX = 32;
/** How many calls wait for their turn. */
export const QUEUED_MAX = 256;

/** A call's turn: it begins when `ready` resolves, and ends with `end`, also when it never began. */
export interface Turn {
  readonly ready: Promise<void>;
  end(): void;
}

interface Place {
  readonly keys: readonly string[];
  readonly start: () => void;
}

/** Lets calls work side by side, those with a key in common one after the other in the order in which they came. */
export class Scheduler {
  private readonly busy = new Set<string>();
  private waiting: Place[] = [];
  private running = 0;

  /** Whether a call with one of these keys is at work or waits. */
  isBusy(keys: readonly string[]): boolean {
    return keys.some((key) => this.busy.has(key) || this.waiting.some((other) => other.keys.includes(key)));
  }

  /** Takes a place in the order. Throws UNAVAILABLE when too many wait. */
  take(keys: readonly string[]): Turn {
    const { promise: ready, resolve: start } = Promise.withResolvers<void>();
    const place: Place = { keys, start };
    if (this.running < RUNNING_MAX && !this.isBusy(keys)) this.begin(place);
    else if (this.waiting.length < QUEUED_MAX) this.waiting.push(place);
    else {
      const message = `The server is overloaded: ${RUNNING_MAX} calls work and ${QUEUED_MAX} wait; nothing was done`;
      throw new MosaicError("UNAVAILABLE", message, { reason: "overloaded", retryAfterMs: 100 });
    }
    let hasEnded = false;
    const end = () => {
      if (!hasEnded) this.end(place);
      hasEnded = true;
    };
    return { ready, end };
  }

  private begin({ keys, start }: Place): void {
    this.running++;
    for (const key of keys) this.busy.add(key);
    start();
  }

  private end(place: Place): void {
    if (this.waiting.includes(place)) this.waiting = this.waiting.filter((other) => other !== place);
    else {
      this.running--;
      for (const key of place.keys) this.busy.delete(key);
    }
    this.beginWaiting();
  }

  /** Begins those whose keys are free and that no earlier one waits for. */
  private beginWaiting(): void {
    const wanted = new Set<string>();
    const left: Place[] = [];
    for (const place of this.waiting) {
      const isFree = place.keys.every((key) => !this.busy.has(key) && !wanted.has(key));
      if (isFree && this.running < RUNNING_MAX) this.begin(place);
      else left.push(place);
      for (const key of place.keys) wanted.add(key);
    }
    this.waiting = left;
  }
}
