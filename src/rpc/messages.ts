import { DEPTH_MAX, findJsonDepthFault } from "./depth.ts";

// What a message asks, read strictly: JSON-RPC 2.0, https://www.jsonrpc.org/specification.

/** An id as the JSON text that is echoed. */
export type Id = string & { readonly __id: true };

/** The id of an answer to what has none that can be known. */
export const NULL_ID = "null" as Id;

/** A fault of a message, which is answered at once. */
export interface Fault {
  readonly kind: "fault";
  readonly id: Id;
  readonly code: number;
  readonly reason: string;
  readonly message: string;
}

/** A call: with an id it is answered. */
export interface Call {
  readonly kind: "call";
  readonly id: Id | undefined;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>> | readonly unknown[];
}

/** One object of a message; "answer" is what only a server sends. */
export type Item = Call | Fault | { readonly kind: "answer"; readonly id: Id };

/** A message: one object, or a batch that is answered together. */
export type Message =
  | { readonly isBatch: false; readonly items: readonly [Item] }
  | { readonly isBatch: true; readonly items: readonly Item[] };

/** The specification's number for what is no JSON. */
export const PARSE_ERROR = -32700;
/** The specification's number for what is no request. */
export const INVALID_REQUEST = -32600;
/** The specification's number for a method that is not there. */
export const METHOD_NOT_FOUND = -32601;
/** The specification's number for params that the method does not take. */
export const INVALID_PARAMS = -32602;
/** The specification's number for a fault of the server itself. */
export const INTERNAL_ERROR = -32603;

/** The most items of a batch. */
export const BATCH_MAX = 256;
/** The longest id that is a string, in bytes. */
export const ID_MAX_BYTES = 256;
/** The longest name of a method, in bytes. */
export const METHOD_MAX_BYTES = 128;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

/** What the bytes of a message ask. Never throws. */
export function readMessage(bytes: Uint8Array): Message {
  let text: string;
  let value: unknown;
  try {
    text = decoder.decode(bytes);
    value = JSON.parse(text);
  } catch (thrown) {
    return single(fault(PARSE_ERROR, "parse_error", `This is no JSON: ${(thrown as Error).message}`));
  }
  // A short text has no room for so many levels.
  if (bytes.length > 2 * DEPTH_MAX && findJsonDepthFault(value))
    return single(fault(INVALID_REQUEST, "invalid_request", "The message is nested too deep"));
  const exactIds = hasInexactId(value) ? readExactIds(text) : undefined;
  const read = (item: unknown, index: number) => readItem(item, exactIds?.[index]);
  if (!Array.isArray(value)) return single(read(value, 0));
  if (value.length === 0) return single(fault(INVALID_REQUEST, "invalid_request", "The batch is empty"));
  if (value.length > BATCH_MAX)
    return single(fault(INVALID_REQUEST, "batch_too_large", `A batch has at most ${BATCH_MAX} items`));
  return { isBatch: true, items: value.map(read) };
}

/** A fault that is answered with id null, or with the id that is known. */
export function fault(code: number, reason: string, message: string, id: Id = NULL_ID): Fault {
  return { kind: "fault", id, code, reason, message };
}

function single(item: Item): Message {
  return { isBatch: false, items: [item] };
}

function readItem(value: unknown, exactId: string | undefined): Item {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return invalid("a request is an object", NULL_ID);
  const request = value as Record<string, unknown>;
  const id = readId(request, exactId);
  if (id === "invalid") return invalid("an id is a string, a number or null", NULL_ID);
  const { jsonrpc, method } = request;
  if (method === undefined && (Object.hasOwn(request, "result") || Object.hasOwn(request, "error")))
    return { kind: "answer", id: id ?? NULL_ID };
  if (jsonrpc !== "2.0") return invalid('jsonrpc must be "2.0"', id);
  if (typeof method !== "string" || Buffer.byteLength(method) > METHOD_MAX_BYTES)
    return invalid(`a method is a string of at most ${METHOD_MAX_BYTES} bytes`, id);
  const params = request.params ?? {};
  if (typeof params !== "object") return invalid("params are an object or an array", id);
  return { kind: "call", id, method, params: params as Call["params"] };
}

function invalid(what: string, id: Id | undefined): Fault {
  return fault(INVALID_REQUEST, "invalid_request", `Invalid request: ${what}`, id);
}

/** Undefined when there is none. */
function readId(request: Record<string, unknown>, exactId: string | undefined): Id | "invalid" | undefined {
  if (!Object.hasOwn(request, "id")) return undefined;
  const { id } = request;
  if (id === null) return NULL_ID;
  if (typeof id === "number") return (exactId ?? String(id)) as Id;
  const isValid = typeof id === "string" && Buffer.byteLength(id) <= ID_MAX_BYTES;
  return isValid ? (JSON.stringify(id) as Id) : "invalid";
}

/** Whether the number of an id may have lost something when it was read. */
function hasInexactId(value: unknown): boolean {
  const isInexact = (item: unknown) => {
    const id = (item as { id?: unknown } | null)?.id;
    return typeof id === "number" && !(Number.isSafeInteger(id) && !Object.is(id, -0));
  };
  return Array.isArray(value) ? value.some(isInexact) : isInexact(value);
}

/** The text of the number that is the id of each item, as it was written. */
function readExactIds(text: string): (string | undefined)[] {
  const texts = new Map<object, string>();
  const value: unknown = JSON.parse(
    text,
    function (this: object, key, member, context?: { source?: string }) {
      if (key === "id" && typeof member === "number" && context?.source) texts.set(this, context.source);
      return member;
    },
  );
  return (Array.isArray(value) ? value : [value]).map((item) => texts.get(item as object));
}
