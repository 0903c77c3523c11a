import { findMatch } from "./bre/match.ts";
import { parseTree } from "./bre/parse.ts";
import { compileTree } from "./bre/program.ts";

export { BreSyntaxError } from "./bre/syntax.ts";

/** A POSIX basic regular expression, ready to search in time linear in the text. */
export interface Bre {
  /** How many groups the pattern has. */
  readonly groups: number;
  /**
   * The leftmost and then longest match anywhere in `text`, undefined when there is none. Entry 0 is the whole,
   * entry n what group n matched, undefined where the group took no part.
   */
  search(text: string): (string | undefined)[] | undefined;
}

/** The basic regular expression in `pattern`. Throws BreSyntaxError that says where it is wrong and what to write. */
export function parseBre(pattern: string): Bre {
  const program = compileTree(parseTree(pattern));
  return { groups: program.groups, search: (text) => findMatch(program, text) };
}
