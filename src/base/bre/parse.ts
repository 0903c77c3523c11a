import { parseBracket } from "./bracket.ts";
import { escapeFault, LITERAL_ESCAPES } from "./escapes.ts";
import {
  type BreNode,
  BreSyntaxError,
  type BreTree,
  type CharNode,
  charAt,
  charSet,
  type GroupNode,
} from "./syntax.ts";

/** The longest pattern, in UTF-16 units. */
export const PATTERN_MAX = 1024;
/** The highest bound in `\{m,n\}`; POSIX promises no more (RE_DUP_MAX). */
export const BOUND_MAX = 255;

const BOUND_FORMS = "write '\\{m\\}', '\\{m,\\}' or '\\{m,n\\}'";

/** The tree of the basic regular expression `pattern`. Throws BreSyntaxError. */
export function parseTree(pattern: string): BreTree {
  if (pattern.length > PATTERN_MAX) {
    const found = `The pattern is too large: it has ${pattern.length} characters`;
    throw new BreSyntaxError(PATTERN_MAX, `${found}; write at most ${PATTERN_MAX}`);
  }
  return new Parser(pattern).parse();
}

class Parser {
  readonly #pattern: string;
  #at = 0;
  #groups = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  parse(): BreTree {
    const nodes = this.#sequence();
    if (this.#sees("\\)")) {
      throw this.#fault("'\\)' closes no group; write '\\(' before it, or ')' for the character itself");
    }
    return { nodes, groups: this.#groups };
  }

  #sequence(): BreNode[] {
    const nodes: BreNode[] = [];
    if (this.#skip("^")) nodes.push({ kind: "start" });
    while (!this.#atSequenceEnd()) nodes.push(this.#piece());
    return nodes;
  }

  #piece(): BreNode {
    const start = this.#at;
    if (this.#skip("$")) {
      if (this.#atSequenceEnd()) return { kind: "end" };
      this.#at = start;
    }
    return this.#repetition(this.#atom());
  }

  /** A `*` gets here only where nothing stands before it, and there it is a literal. */
  #atom(): CharNode | GroupNode {
    if (this.#sees("\\(")) return this.#group();
    if (this.#sees("\\")) return this.#escape();
    if (this.#sees("[")) {
      const { set, end } = parseBracket(this.#pattern, this.#at);
      this.#at = end;
      return { kind: "char", set };
    }
    // POSIX lets '.' match every character but NUL.
    if (this.#skip(".")) return { kind: "char", set: charSet([[0, 0]], true) };
    return this.#literal();
  }

  #group(): GroupNode {
    const open = this.#at;
    this.#at += "\\(".length;
    this.#groups += 1;
    const number = this.#groups;
    const body = this.#sequence();
    if (!this.#skip("\\)")) {
      throw new BreSyntaxError(open, "'\\(' has no closing '\\)'; write it, or '(' for the character itself");
    }
    return { kind: "group", number, last: this.#groups, body };
  }

  #escape(): CharNode {
    const escaped = this.#pattern[this.#at + 1];
    if (escaped === undefined || !LITERAL_ESCAPES.includes(escaped)) {
      throw this.#fault(escapeFault(this.#pattern, this.#at));
    }
    this.#at += 1;
    return this.#literal();
  }

  #literal(): CharNode {
    const { code, width } = charAt(this.#pattern, this.#at);
    this.#at += width;
    return { kind: "char", set: charSet([[code, code]]) };
  }

  #repetition(body: CharNode | GroupNode): BreNode {
    const at = this.#at;
    const bounds = this.#bounds();
    if (!bounds) return body;
    if (this.#sees("*") || this.#sees("\\{")) {
      const advice = "write one, or put '\\(' and '\\)' around the first";
      throw this.#fault(`A repetition directly after a repetition means nothing; ${advice}`);
    }
    return { kind: "repeat", body, ...bounds, at };
  }

  #bounds(): { min: number; max: number | undefined } | undefined {
    const open = this.#at;
    if (this.#skip("*")) return { min: 0, max: undefined };
    if (!this.#skip("\\{")) return undefined;
    const min = this.#bound();
    const max = !this.#skip(",") ? min : this.#sees("\\}") ? undefined : this.#bound();
    if (!this.#skip("\\}")) throw this.#fault(`Here '\\}' is missing after '\\{'; ${BOUND_FORMS}`);
    if (max !== undefined && min > max) {
      throw new BreSyntaxError(open, `The bounds ${min},${max} are reversed; write '\\{${max},${min}\\}'`);
    }
    return { min, max };
  }

  #bound(): number {
    const digits = /^[0-9]*/.exec(this.#pattern.slice(this.#at))?.[0] ?? "";
    if (digits === "")
      throw this.#fault(`Here a number is missing after '\\{'; ${BOUND_FORMS}, where m may be 0`);
    if (Number(digits) > BOUND_MAX)
      throw this.#fault(`The bound ${digits} is too high; write at most ${BOUND_MAX}`);
    this.#at += digits.length;
    return Number(digits);
  }

  #atSequenceEnd(): boolean {
    return this.#at >= this.#pattern.length || this.#sees("\\)");
  }

  #sees(token: string): boolean {
    return this.#pattern.startsWith(token, this.#at);
  }

  #skip(token: string): boolean {
    const seen = this.#sees(token);
    if (seen) this.#at += token.length;
    return seen;
  }

  #fault(message: string): BreSyntaxError {
    return new BreSyntaxError(this.#at, message);
  }
}
