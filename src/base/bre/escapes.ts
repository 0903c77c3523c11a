import { charAt } from "./syntax.ts";

/** The characters that a backslash makes literal. */
export const LITERAL_ESCAPES = ".*[]^$\\/-";

const NO_GROUP_REFERENCE = "A back-reference in a pattern is not supported; write out what it is to match";
const WORD_EDGE = "write the characters that may stand there, as in '[^[:alnum:]_]'";

/** What to write instead of the GNU extensions, by the character after the backslash. */
const GNU_ESCAPES: ReadonlyMap<string, string> = new Map([
  ["+", "write '\\{1,\\}'"],
  ["?", "write '\\{0,1\\}'"],
  ["|", "write one pattern for each alternative, or '|' for the character itself"],
  ["<", WORD_EDGE],
  [">", WORD_EDGE],
  ["b", WORD_EDGE],
  ["B", "write the characters that may stand there, as in '[[:alnum:]_]'"],
  ["w", "write '[[:alnum:]_]'"],
  ["W", "write '[^[:alnum:]_]'"],
  ["s", "write '[[:space:]]'"],
  ["S", "write '[^[:space:]]'"],
  ["`", "write '^'"],
  ["'", "write '$'"],
]);

/** Why the backslash at index `at` makes no literal character, and what to write instead. */
export function escapeFault(pattern: string, at: number): string {
  if (at + 1 >= pattern.length)
    return "The pattern ends in a single '\\'; write '\\\\' for the character itself";
  const escaped = String.fromCodePoint(charAt(pattern, at + 1).code);
  if (escaped === "{") return "Nothing before '\\{' can be repeated; write '{' for the character itself";
  if (escaped === "}") return "'\\}' closes no bound; write '}' for the character itself";
  if (/[1-9]/.test(escaped)) return NO_GROUP_REFERENCE;
  const instead = GNU_ESCAPES.get(escaped);
  if (instead) return `'\\${escaped}' is a GNU extension; ${instead}`;
  return `${JSON.stringify(`\\${escaped}`)} means nothing; write ${JSON.stringify(escaped)} without the backslash`;
}
