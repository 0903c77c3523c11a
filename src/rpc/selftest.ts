import type { Method, ResultSchema } from "./method.ts";

// Methods for tests of clients and of the protocol, with `--selftest`: those of the examples in the specification, and two
// more.

/** The methods of the self-test. */
export function listSelftestMethods(): Map<string, Method> {
  const quiet = {
    summary: "a method for tests",
    mutates: false,
    result: (z: Parameters<ResultSchema>[0]) => z.unknown(),
  } as const;
  return new Map<string, Method>([
    [
      "subtract",
      {
        ...quiet,
        parameters: ["minuend", "subtrahend"],
        schema: (z) => z.strictObject({ minuend: z.number(), subtrahend: z.number() }),
        run: ({ minuend, subtrahend }) => Object(Number(minuend) - Number(subtrahend)),
      },
    ],
    [
      "sum",
      {
        ...quiet,
        parameters: ["a", "b", "c", "d"],
        schema: (z) => {
          const number = z.optional(z.number());
          return z.strictObject({ a: number, b: number, c: number, d: number });
        },
        run: (values) => Object(Object.values(values).reduce<number>((sum, value) => sum + Number(value), 0)),
      },
    ],
    ["get_data", { ...quiet, parameters: [], schema: (z) => z.strictObject({}), run: () => ["hello", 5] }],
    [
      "echo",
      {
        ...quiet,
        parameters: ["value"],
        schema: (z) => z.strictObject({ value: z.optional(z.unknown()) }),
        run: ({ value }) => ({ value }),
      },
    ],
    [
      "sleep",
      {
        ...quiet,
        parameters: ["ms", "key"],
        schema: (z) => z.strictObject({ ms: z.number(), key: z.optional(z.string()) }),
        keys: ({ key }) => (typeof key === "string" ? [key] : []),
        run: async ({ ms }, { signal, progress }) => {
          const end = performance.now() + Number(ms);
          for (let count = 1; performance.now() < end; count++) {
            signal.throwIfAborted();
            progress({ progress: count });
            await Bun.sleep(Math.min(5, Math.max(0, end - performance.now())));
          }
          return {};
        },
      },
    ],
    [
      "noise",
      {
        ...quiet,
        parameters: ["bytes"],
        schema: (z) => z.strictObject({ bytes: z.number() }),
        run: ({ bytes }) => {
          console.log("noise of a library");
          console.error("x".repeat(Number(bytes)));
          return {};
        },
      },
    ],
  ]);
}
