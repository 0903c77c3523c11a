import {
  type BreNode,
  BreSyntaxError,
  type BreTree,
  type CharSet,
  type GroupNode,
  type RepeatNode,
} from "./syntax.ts";

/** The most instructions of a program. */
export const PROGRAM_MAX = 10_000;

/**
 * A step of the matcher; without a target of its own it goes on to the step after it.
 * `take` needs a character of `set` to go to `next`; an optional one may also go on without, as second choice.
 * `split` goes to `first` and, as second choice, to `second`.
 * `mark` notes the position in `slot`; the slots after it up to `clearTo` lose theirs.
 * `start` and `end` hold at the edges of the text only.
 */
export type Instruction =
  | { readonly op: "take"; readonly set: CharSet; readonly next: number; readonly optional: boolean }
  | { readonly op: "split"; readonly first: number; readonly second: number }
  | { readonly op: "mark"; readonly slot: number; readonly clearTo: number }
  | { readonly op: "start" | "end" | "match" };

/** A compiled pattern. Group n has the slots 2n and 2n + 1; the slots 0 and 1 are those of the whole match. */
export interface Program {
  readonly instructions: readonly Instruction[];
  readonly groups: number;
}

/** The program for a parsed pattern. Throws BreSyntaxError when nested bounds make it too large. */
export function compileTree(tree: BreTree): Program {
  return { instructions: new Compiler().compile(tree.nodes), groups: tree.groups };
}

class Compiler {
  readonly #instructions: Instruction[] = [];
  #repetitionAt = 0;

  compile(nodes: readonly BreNode[]): readonly Instruction[] {
    this.#sequence(nodes);
    this.#push({ op: "match" });
    return this.#instructions;
  }

  #sequence(nodes: readonly BreNode[]): void {
    for (const node of nodes) this.#node(node);
  }

  #node(node: BreNode): void {
    if (node.kind === "char") this.#take(node.set);
    else if (node.kind === "group") this.#group(node);
    else if (node.kind === "repeat") this.#repeat(node);
    else this.#push({ op: node.kind });
  }

  #group({ number, last, body }: GroupNode): void {
    const slot = 2 * number;
    // What the inner groups matched in an earlier iteration is no part of this one.
    this.#push({ op: "mark", slot, clearTo: 2 * last + 1 });
    this.#sequence(body);
    this.#push({ op: "mark", slot: slot + 1, clearTo: slot + 1 });
  }

  #repeat({ body, min, max, at }: RepeatNode): void {
    this.#repetitionAt = at;
    if (body.kind === "char") this.#repeatChar(body.set, min, max);
    else this.#repeatGroup(body, min, max);
  }

  #repeatChar(set: CharSet, min: number, max: number | undefined): void {
    for (let copy = 0; copy < min; copy++) this.#take(set);
    if (max === undefined) this.#push({ op: "take", set, next: this.#here, optional: true });
    else for (let copy = min; copy < max; copy++) this.#take(set, true);
  }

  #repeatGroup(body: GroupNode, min: number, max: number | undefined): void {
    for (let copy = 1; copy < min; copy++) this.#group(body);
    if (min > 0) this.#lastRequired(body, max === undefined);
    else if (max === undefined) this.#optional(() => this.#lastRequired(body, true));
    for (let copy = min; copy < (max ?? 0); copy++) this.#optional(() => this.#group(body));
  }

  /** The loop is behind the group: a group that matches nothing must still be passed once to be noted. */
  #lastRequired(body: GroupNode, looping: boolean): void {
    const first = this.#here;
    this.#group(body);
    if (looping) this.#push({ op: "split", first, second: this.#here + 1 });
  }

  #optional(emit: () => void): void {
    const split = this.#here;
    this.#push({ op: "split", first: split + 1, second: split + 1 });
    emit();
    this.#instructions[split] = { op: "split", first: split + 1, second: this.#here };
  }

  #take(set: CharSet, optional = false): void {
    this.#push({ op: "take", set, next: this.#here + 1, optional });
  }

  #push(instruction: Instruction): void {
    if (this.#here === PROGRAM_MAX) {
      const found = "The pattern is too large: its bounds multiply to too many copies";
      throw new BreSyntaxError(this.#repetitionAt, `${found}; write lower bounds, or '*' for no bound`);
    }
    this.#instructions.push(instruction);
  }

  get #here(): number {
    return this.#instructions.length;
  }
}
