import type { Event } from "../api/events.ts";
import type { Notice } from "../api/eventwatch.ts";
import { formatNotification } from "./answers.ts";

/** Where the notices of subscriptions go. */
export interface NoticeSink {
  readonly send: (text: string) => void;
  /** Whether so much waits to be read by the client that events are held back. */
  readonly isFull: () => boolean;
  /** Waits until it is so no more. */
  readonly whenReady: () => Promise<void>;
}

/** Tells events to a client, and to one that falls behind once what it lost. */
export class NoticeTeller {
  private lost: { from: number; to: number } | undefined;
  private isClosed = false;

  constructor(
    private readonly sink: NoticeSink,
    private readonly subscription: string,
    private readonly types: readonly string[],
  ) {}

  tell(notice: Notice): void {
    if (notice.kind === "lost") this.lose(notice.from, notice.to);
    else if (this.sink.isFull()) this.lose(notice.event.seq, notice.event.seq);
    else {
      this.tellLost();
      this.tellEvent(notice.event);
    }
  }

  close(): void {
    this.isClosed = true;
  }

  /** It is told as soon as the client reads: perhaps nothing happens any more. */
  private lose(from: number, to: number): void {
    if (!this.lost) void this.sink.whenReady().then(() => this.tellLost());
    this.lost = { from: this.lost?.from ?? from, to };
  }

  private tellLost(): void {
    if (this.lost) this.send({ type: "events.lost", data: this.lost });
    this.lost = undefined;
  }

  private tellEvent({ seq, time, type, data, pid }: Event): void {
    if (this.types.length === 0 || this.types.includes(type))
      this.send({ seq, time, type, data: { ...data, pid } });
  }

  private send(event: object): void {
    if (this.isClosed) return;
    this.sink.send(formatNotification("$/event", { subscription: this.subscription, ...event }));
  }
}
