import { chooseIssue, describeExpected, describeFound } from "../api/issues.ts";
import { findNearest } from "../base/nearest.ts";
import { INVALID_PARAMS } from "./messages.ts";
import { type Meta, MetaFault, parseMeta } from "./meta.ts";
import type { Method } from "./method.ts";
import { makeWireError, type WireError } from "./wirecodes.ts";
import * as z from "./zod.ts";

type Values = Readonly<Record<string, unknown>>;

/** Params whose shape is right and that still cannot be meant. */
export class InvalidParams extends Error {
  constructor(
    readonly path: string,
    readonly expected: string,
    readonly got: string,
  ) {
    super(`Invalid params: ${path}: expected ${expected}, got ${got}`);
  }

  toWireError(): WireError {
    const { path, expected, got } = this;
    const details = { reason: "invalid_params", path, expected, got };
    return makeWireError(INVALID_PARAMS, this.message, "INVALID_ARGUMENT", details);
  }
}

/** The params of a call, checked before anything is done. */
export type CheckedParams = { readonly values: Values; readonly meta: Meta } | { readonly error: WireError };

const NOTHING: CheckedParams = { values: {}, meta: {} };
const schemas = new WeakMap<Method, ReturnType<Method["schema"]>>();

/** Checks params, by name or in the declared order, against the schema of a method. Throws UNSUPPORTED for the protocol. */
export function checkParams(method: Method, params: Values | readonly unknown[]): CheckedParams {
  if (method.parameters.length === 0 && Object.keys(params).length === 0) return NOTHING;
  const named = isList(params) ? nameParams(method, params) : params;
  if (named === undefined) {
    const expected = `at most ${method.parameters.length} params`;
    return invalid([String(method.parameters.length)], expected, `${(params as readonly unknown[]).length}`);
  }
  const { _meta, ...rest } = named;
  const given = Object.fromEntries(Object.entries(rest).filter(([name]) => !name.startsWith("x-")));
  try {
    const meta = parseMeta(_meta);
    const parsed = schemaOf(method).safeParse(given);
    if (parsed.success) return { values: parsed.data as Values, meta };
    return describeIssues(method, given, parsed.error.issues);
  } catch (thrown) {
    if (!(thrown instanceof MetaFault)) throw thrown;
    const path = ["_meta", ...(thrown.member === "" ? [] : [thrown.member])];
    return invalid(path, thrown.expected, describeFound(lookUp(named, path)));
  }
}

/** A member of a value by the names that lead to it. */
function lookUp(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (holder, key) => (holder as Record<PropertyKey, unknown> | undefined)?.[key],
    value,
  );
}

function isList(params: Values | readonly unknown[]): params is readonly unknown[] {
  return Array.isArray(params);
}

/** Undefined when there are too many. */
function nameParams(method: Method, params: readonly unknown[]): Values | undefined {
  if (params.length > method.parameters.length) return undefined;
  return Object.fromEntries(params.map((value, index) => [method.parameters[index] ?? "", value]));
}

function schemaOf(method: Method): ReturnType<Method["schema"]> {
  const known = schemas.get(method);
  if (known) return known;
  const schema = method.schema(z);
  schemas.set(method, schema);
  return schema;
}

function describeIssues(method: Method, given: Values, issues: readonly unknown[]): CheckedParams {
  const issue = chooseIssue(issues);
  const [unknown] = issue.keys ?? [];
  if (unknown !== undefined) {
    const nearest = findNearest(unknown, method.parameters);
    const expected = nearest
      ? `no such member; did you mean ${nearest}?`
      : `one of ${method.parameters.join(", ") || "no members"}`;
    return invalid(
      [...issue.path, unknown],
      expected,
      describeFound(lookUp(given, [...issue.path, unknown])),
    );
  }
  return invalid(issue.path, describeExpected(issue), describeFound(lookUp(given, issue.path) ?? null));
}

function invalid(path: readonly (string | number)[], expected: string, got: string): CheckedParams {
  const pointer = path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  return { error: new InvalidParams(pointer === "" ? "params" : pointer, expected, got).toWireError() };
}
