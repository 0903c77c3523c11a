import type * as zod from "zod/mini";
import type { resultSchemas } from "../api/resultschemas.ts";
import type { Meta } from "./meta.ts";

/** The words of schemas that methods use. */
export type Zod = typeof import("./zod.ts");

/** Makes the schema of what a method answers, from words and from the schemas of actions. */
export type ResultSchema = (
  z: typeof import("./schemawords.ts"),
  actions: ReturnType<typeof resultSchemas>,
) => zod.ZodMiniType;

/** What a call gets beside its values. */
export interface CallContext {
  readonly meta: Meta;
  /** Aborted with a MosaicError CANCELLED when the call shall stop. */
  readonly signal: AbortSignal;
  /** Tells how far the call is, to a client that asked for it. */
  progress(value: Progress): void;
}

/** How far a call is. */
export interface Progress {
  readonly progress: number;
  readonly total?: number;
  readonly unit?: string;
  readonly phase?: string;
  readonly message?: string;
}

type Values = Readonly<Record<string, unknown>>;

/** One method of the server. */
export interface Method {
  readonly summary: string;
  /** The parameters in the order of a call by place. */
  readonly parameters: readonly string[];
  /** A strict object; a function, so that a method that is not called costs nothing. */
  readonly schema: (z: Zod) => zod.ZodMiniType;
  /** The schema of the answer: a function, for the description only. */
  readonly result: ResultSchema;
  /** Whether it changes something, so that it is never run without an answer. */
  readonly mutates: boolean;
  /** Whether it is answered at once, whatever else is at work. */
  readonly isImmediate?: boolean;
  /** What it works on: calls with a key in common are run one after the other. Absent: it waits for nobody. */
  readonly keys?: (values: Values) => readonly string[];
  readonly run: (values: Values, context: CallContext) => Promise<object | null> | object | null;
  /** Where its jobs and outcomes are kept, when it can run in the background. */
  readonly storage?: (values: Values) => Promise<string>;
}
