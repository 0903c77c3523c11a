import { quote } from "../base/errors.ts";

/** What a schema found wrong, as far as it is told to people. */
export interface SchemaIssue {
  readonly code: string;
  readonly path: readonly (string | number)[];
  readonly expected?: string;
  readonly values?: readonly string[];
  readonly keys?: readonly string[];
  /** Of a number that is too small or too big. */
  readonly origin?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** The issue to tell first: an unknown key is often the misspelt one that another issue misses. */
export function chooseIssue(issues: readonly unknown[]): SchemaIssue {
  const all = issues as SchemaIssue[];
  return all.find((issue) => issue.code === "unrecognized_keys") ?? all[0] ?? { code: "unknown", path: [] };
}

/** What was expected, such as "true or false". */
export function describeExpected(issue: SchemaIssue): string {
  if (issue.values)
    return issue.values.length > 1 ? `one of ${issue.values.join(", ")}` : String(issue.values[0]);
  if (issue.code === "too_small" && issue.origin !== "string") return `${issue.minimum} or more`;
  if (issue.code === "too_big") return `${issue.maximum} or less`;
  if (issue.code === "invalid_union") return "none or a whole number of percent";
  if (issue.expected === "int" || issue.expected === "number") return "a whole number";
  if (issue.code === "too_small") return issue.expected ?? "a text that is not empty";
  if (issue.expected === "boolean") return "true or false";
  if (issue.expected === "object") return "a mapping";
  if (issue.expected === "nonoptional") return "a value";
  return issue.expected === "string" ? "a text" : (issue.expected ?? "another value");
}

/** What was found in its place, shortened. */
export function describeFound(value: unknown): string {
  if (value === null) return "nothing";
  if (typeof value === "string") return quote(value.slice(0, 60));
  if (typeof value === "object") return Array.isArray(value) ? "a list" : "a mapping";
  return String(value);
}
