import type { Progress } from "./method.ts";

const INTERVAL_MS = 100;

/** Tells a client how far a call is: rising, ten times a second at most, the last value wins, nothing after the end. */
export class ProgressTeller {
  private last = Number.NEGATIVE_INFINITY;
  private waiting: Progress | undefined;
  private timer: Timer | undefined;
  private isClosed = false;

  constructor(private readonly tell: (value: Progress) => void) {}

  report(value: Progress): void {
    if (this.isClosed || value.progress <= this.last) return;
    this.waiting = value;
    if (this.timer === undefined) this.send();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
  }

  private send(): void {
    this.timer = undefined;
    if (!this.waiting || this.isClosed) return;
    this.last = this.waiting.progress;
    this.tell(this.waiting);
    this.waiting = undefined;
    this.timer = setTimeout(() => this.send(), INTERVAL_MS);
  }
}
