/** A pattern that is no basic regular expression, or one beyond the limits of this engine. */
export class BreSyntaxError extends Error {
  override readonly name = "BreSyntaxError";
  /** The 0-based index into the pattern where the fault lies. */
  readonly position: number;

  constructor(position: number, message: string) {
    super(message);
    this.position = position;
  }
}

/** The characters that one place of a pattern accepts, asked by code point. */
export interface CharSet {
  has(code: number): boolean;
}

/** The first and the last code point of a run of characters. */
export type CharRange = readonly [low: number, high: number];

/** A group `\(...\)`; `last` is the highest number among the group itself and those inside it. */
export interface GroupNode {
  readonly kind: "group";
  readonly number: number;
  readonly last: number;
  readonly body: readonly BreNode[];
}

/** One character out of a set: a literal, `.` or a bracket expression. */
export interface CharNode {
  readonly kind: "char";
  readonly set: CharSet;
}

/** `*` or `\{m,n\}` at index `at` of the pattern; without `max` there is no upper bound. */
export interface RepeatNode {
  readonly kind: "repeat";
  readonly body: CharNode | GroupNode;
  readonly min: number;
  readonly max: number | undefined;
  readonly at: number;
}

/** A part of a pattern; `start` and `end` are the anchors `^` and `$`. */
export type BreNode =
  | CharNode
  | GroupNode
  | RepeatNode
  | { readonly kind: "start" }
  | { readonly kind: "end" };

/** A parsed pattern and the number of its groups. */
export interface BreTree {
  readonly nodes: readonly BreNode[];
  readonly groups: number;
}

/** The set of the characters in `ranges`, or of all others when `negated`. */
export function charSet(ranges: readonly CharRange[], negated = false): CharSet {
  return { has: (code) => ranges.some(([low, high]) => low <= code && code <= high) !== negated };
}

/** The character, whole even beyond 16 bits, at an index inside `text`. */
export function charAt(text: string, at: number): { code: number; width: number } {
  const code = text.codePointAt(at) ?? 0;
  return { code, width: code > 0xffff ? 2 : 1 };
}
