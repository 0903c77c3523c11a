import type { Job } from "../api/jobs.ts";
import type { VolumeInfo } from "../api/results.ts";
import type { Method, Zod } from "./method.ts";

// Lists that grow are answered in pages, for an answer has an end. A cursor is the place of an item in the order of its
// list, and so holds whatever comes and goes meanwhile.

/** The most items of a page. */
export const PAGE_MAX = 1000;
/** The items of a page where the client does not say. */
const PAGE_DEFAULT = 500;

interface Items {
  readonly volumes: VolumeInfo;
  readonly jobs: Job;
}

/** The place of an item in its list, as a text that no other one has. */
const PLACES: { readonly [List in keyof Items]: (item: Items[List]) => string } = {
  // What is in a directory comes before what only begins with its name.
  volumes: ({ storedName }) => storedName.replaceAll("/", " "),
  jobs: ({ createdAt, id }) => `${createdAt} ${id}`,
};

/** A method that answers a list, as one that answers a part of it after another. */
export function inPages<List extends keyof Items>(method: Method, list: List): Method {
  return {
    ...method,
    parameters: ["limit", "cursor", ...method.parameters],
    schema: (z) =>
      z.extend(method.schema(z) as ReturnType<Zod["strictObject"]>, {
        limit: z.optional(z.int().check(z.minimum(1), z.maximum(PAGE_MAX))),
        cursor: z.optional(z.string()),
      }),
    result: (z, actions) =>
      z.extend(method.result(z, actions) as ReturnType<Zod["strictObject"]>, {
        nextCursor: z.optional(z.string()),
      }),
    async run({ limit, cursor, ...values }, context) {
      const answer = (await method.run(values, context)) as Record<List, Items[List][]>;
      const { page, nextCursor } = takePage(answer[list], PLACES[list], limit, cursor);
      return { ...answer, [list]: page, ...(nextCursor !== undefined && { nextCursor }) };
    },
  };
}

function takePage<Item>(
  items: readonly Item[],
  placeOf: (item: Item) => string,
  limit: unknown = PAGE_DEFAULT,
  cursor: unknown = "",
): { page: Item[]; nextCursor?: string | undefined } {
  const placed = items.map((item) => ({ item, place: placeOf(item) }));
  const rest = placed.filter(({ place }) => place > String(cursor));
  rest.sort((a, b) => (a.place < b.place ? -1 : 1));
  const page = rest.slice(0, Number(limit));
  return {
    page: page.map(({ item }) => item),
    nextCursor: page.length < rest.length ? page.at(-1)?.place : undefined,
  };
}
