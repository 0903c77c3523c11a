import type { Event } from "../api/events.ts";
import { EventWatch, type Notice } from "../api/eventwatch.ts";
import { MosaicError } from "../base/errors.ts";
import { requireMosaic } from "./actionmethods.ts";
import { formatNotification } from "./answers.ts";
import type { Method } from "./method.ts";
import type { Mosaics } from "./mosaics.ts";

/** How many subscriptions a connection has at the most. */
export const SUBSCRIPTIONS_MAX = 16;

const TYPES = [
  "created",
  "cloned",
  "dropped",
  "adopted",
  "resized",
  "attached",
  "detached",
  "mounted",
  "unmounted",
] as const satisfies readonly Event["type"][];

/** Where the notices of subscriptions go. */
export interface NoticeSink {
  readonly send: (text: string) => void;
  /** Whether so much waits to be read by the client that events are held back. */
  readonly isFull: () => boolean;
}

/** The subscriptions of a connection: what happens to the volumes of a mosaic, whoever does it. */
export class Subscriptions {
  private readonly watches = new Map<string, EventWatch>();
  private count = 0;

  constructor(private readonly sink: NoticeSink) {}

  /** Begins one: after the event `since`, or from now on. Throws UNAVAILABLE when there are too many. */
  begin(identity: string, types: readonly string[], since: number | undefined): object {
    if (this.watches.size >= SUBSCRIPTIONS_MAX) {
      const message = `A connection has at most ${SUBSCRIPTIONS_MAX} subscriptions: end one`;
      throw new MosaicError("UNAVAILABLE", message, { reason: "too_many_subscriptions" });
    }
    const subscription = `s${++this.count}`;
    // What was missed is told after the answer that has the subscription's name.
    const early: Notice[] = [];
    let pass = (notice: Notice): void => {
      early.push(notice);
    };
    const watch = new EventWatch(identity, (notice) => pass(notice), since);
    const seq = early.length > 0 ? (since ?? 0) : watch.seq;
    const teller = new NoticeTeller(this.sink, subscription, types);
    setTimeout(() => {
      pass = (notice) => teller.tell(notice);
      for (const notice of early) teller.tell(notice);
    });
    this.watches.set(subscription, watch);
    return { subscription, seq };
  }

  /** Ends one. Throws NOT_FOUND. */
  end(subscription: string): object {
    const watch = this.watches.get(subscription);
    if (!watch) {
      const message = `There is no subscription ${JSON.stringify(subscription)}`;
      throw new MosaicError("NOT_FOUND", message, { subscription });
    }
    watch.close();
    this.watches.delete(subscription);
    return {};
  }

  close(): void {
    for (const watch of this.watches.values()) watch.close();
    this.watches.clear();
  }
}

/** Tells events to a client, and to one that falls behind once what it lost. */
class NoticeTeller {
  private lost: { from: number; to: number } | undefined;

  constructor(
    private readonly sink: NoticeSink,
    private readonly subscription: string,
    private readonly types: readonly string[],
  ) {}

  tell(notice: Notice): void {
    const [from, to] =
      notice.kind === "lost" ? [notice.from, notice.to] : [notice.event.seq, notice.event.seq];
    if (notice.kind === "lost" || this.sink.isFull()) {
      this.lost = { from: this.lost?.from ?? from, to };
      return;
    }
    if (this.lost) this.send({ type: "events.lost", data: this.lost });
    this.lost = undefined;
    const { seq, time, type, data, pid } = notice.event;
    if (this.types.length === 0 || this.types.includes(type))
      this.send({ seq, time, type, data: { ...data, pid } });
  }

  private send(event: object): void {
    this.sink.send(formatNotification("$/event", { subscription: this.subscription, ...event }));
  }
}

/** The methods of subscriptions. */
export function listEventMethods(
  mosaics: Mosaics,
  bound: string | undefined,
  subscriptions: Subscriptions,
): Map<string, Method> {
  return new Map<string, Method>([
    [
      "events.subscribe",
      {
        summary: "be told what happens to volumes, whoever does it",
        parameters: ["types", "since", "mosaic"],
        mutates: true,
        result: (z) => z.strictObject({ subscription: z.string(), seq: z.int() }),
        schema: (z) =>
          z.strictObject({
            types: z.optional(z.array(z.enum(TYPES))),
            since: z.optional(z.int().check(z.minimum(0))),
            mosaic: bound === undefined ? z.string() : z.optional(z.string()),
          }),
        async run({ types, since, mosaic }) {
          const nameOrPath = await requireMosaic(mosaics, bound, mosaic as string | undefined);
          const { identity } = await mosaics.reader(nameOrPath);
          return subscriptions.begin(
            identity,
            (types as string[] | undefined) ?? [],
            since as number | undefined,
          );
        },
      },
    ],
    [
      "events.unsubscribe",
      {
        summary: "end a subscription",
        parameters: ["subscription"],
        mutates: true,
        result: (z) => z.strictObject({}),
        schema: (z) => z.strictObject({ subscription: z.string() }),
        run: ({ subscription }) => subscriptions.end(String(subscription)),
      },
    ],
  ]);
}
