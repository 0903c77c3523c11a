import type { Event } from "../api/events.ts";
import { EventWatch, type Notice } from "../api/eventwatch.ts";
import { MosaicError } from "../base/errors.ts";
import { requireMosaic } from "./actionmethods.ts";
import type { Method } from "./method.ts";
import type { Mosaics } from "./mosaics.ts";
import { type NoticeSink, NoticeTeller } from "./noticeteller.ts";

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

/** The subscriptions of a connection: what happens to the volumes of a mosaic, whoever does it. */
export class Subscriptions {
  private readonly open = new Map<string, { readonly watch: EventWatch; readonly teller: NoticeTeller }>();
  private count = 0;

  constructor(private readonly sink: NoticeSink) {}

  /** Begins one: after the event `since`, or from now on. Throws UNAVAILABLE when there are too many. */
  begin(identity: string, types: readonly string[], since: number | undefined): object {
    if (this.open.size >= SUBSCRIPTIONS_MAX) {
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
    this.open.set(subscription, { watch, teller });
    return { subscription, seq };
  }

  /** Ends one. Throws NOT_FOUND. */
  end(subscription: string): object {
    const own = this.open.get(subscription);
    if (!own) {
      const message = `There is no subscription ${JSON.stringify(subscription)}`;
      throw new MosaicError("NOT_FOUND", message, { subscription });
    }
    own.watch.close();
    own.teller.close();
    this.open.delete(subscription);
    return {};
  }

  close(): void {
    for (const subscription of this.open.keys()) this.end(subscription);
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
