import { BreSyntaxError, type CharRange, type CharSet, charAt, charSet } from "./syntax.ts";

/** The character classes in the C locale. */
const CLASSES: ReadonlyMap<string, readonly CharRange[]> = new Map([
  ["alnum", spans("09AZaz")],
  ["alpha", spans("AZaz")],
  ["blank", spans("\t\t  ")],
  ["cntrl", spans("\0\x1f\x7f\x7f")],
  ["digit", spans("09")],
  ["graph", spans("!~")],
  ["lower", spans("az")],
  ["print", spans(" ~")],
  ["punct", spans("!/:@[`{~")],
  ["space", spans("\t\r  ")],
  ["upper", spans("AZ")],
  ["xdigit", spans("09AFaf")],
]);

/** The set that the bracket expression at index `open` means, and the index after its `]`. */
export function parseBracket(pattern: string, open: number): { set: CharSet; end: number } {
  const negated = pattern[open + 1] === "^";
  const first = open + (negated ? 2 : 1);
  const ranges: CharRange[] = [];
  let at = first;
  while (at === first || pattern[at] !== "]") {
    if (at >= pattern.length) throw unclosed(open);
    const item = parseItem(pattern, at, at === first, open);
    ranges.push(...item.ranges);
    at = item.end;
  }
  return { set: charSet(ranges, negated), end: at + 1 };
}

interface Item {
  readonly ranges: readonly CharRange[];
  readonly end: number;
}

function parseItem(pattern: string, at: number, first: boolean, open: number): Item {
  if (pattern.startsWith("[:", at)) return parseClass(pattern, at);
  refuseCollation(pattern, at);
  if (!first && pattern[at] === "-" && pattern[at + 1] !== "]") throw strayHyphen(at);
  const low = charAt(pattern, at);
  const hyphen = at + low.width;
  if (pattern[hyphen] !== "-" || pattern[hyphen + 1] === "]") {
    return { ranges: [[low.code, low.code]], end: hyphen };
  }
  return parseRange(pattern, at, hyphen, open);
}

function parseRange(pattern: string, at: number, hyphen: number, open: number): Item {
  if (hyphen + 1 >= pattern.length) throw unclosed(open);
  refuseCollation(pattern, hyphen + 1);
  if (pattern.startsWith("[:", hyphen + 1)) {
    throw new BreSyntaxError(
      hyphen + 1,
      "A range cannot end in a class; end it in a character, or write '-' last",
    );
  }
  const low = charAt(pattern, at);
  const high = charAt(pattern, hyphen + 1);
  const end = hyphen + 1 + high.width;
  if (low.code > high.code) {
    const reversed = `${pattern.slice(hyphen + 1, end)}-${pattern.slice(at, hyphen)}`;
    const found = `The range ${JSON.stringify(pattern.slice(at, end))} runs backwards`;
    throw new BreSyntaxError(at, `${found}; write ${JSON.stringify(reversed)}, or a literal '-' last`);
  }
  return { ranges: [[low.code, high.code]], end };
}

function parseClass(pattern: string, at: number): Item {
  const close = pattern.indexOf(":]", at + 2);
  if (close < 0) {
    throw new BreSyntaxError(at, "'[:' starts a class that ':]' does not end; write ':]', or ':' before '['");
  }
  const name = pattern.slice(at + 2, close);
  const ranges = CLASSES.get(name);
  if (!ranges) {
    const known = [...CLASSES.keys()].join(", ");
    throw new BreSyntaxError(at, `There is no class ${JSON.stringify(`[:${name}:]`)}; write one of ${known}`);
  }
  return { ranges, end: close + 2 };
}

function refuseCollation(pattern: string, at: number): void {
  for (const mark of ["[=", "[."]) {
    if (!pattern.startsWith(mark, at)) continue;
    const what = mark === "[=" ? "an equivalence class" : "a collating element";
    throw new BreSyntaxError(
      at,
      `'${mark}' starts ${what}, which is not supported; write the characters themselves`,
    );
  }
}

function strayHyphen(at: number): BreSyntaxError {
  return new BreSyntaxError(at, "This '-' has no character to start a range from; write a literal '-' last");
}

function unclosed(open: number): BreSyntaxError {
  return new BreSyntaxError(open, "'[' has no closing ']'; write the ']', or '\\[' for the character itself");
}

function spans(ends: string): CharRange[] {
  const pairs = ends.match(/../gs) ?? [];
  return pairs.map((pair) => [pair.charCodeAt(0), pair.charCodeAt(1)]);
}
