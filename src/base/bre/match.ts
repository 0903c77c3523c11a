import type { Instruction, Program } from "./program.ts";
import { charAt } from "./syntax.ts";

/** The leftmost-longest match in `text` and its groups, undefined where a group took no part; undefined when none. */
export function findMatch(program: Program, text: string): (string | undefined)[] | undefined {
  const match = new Matcher(program, text).run();
  if (!match) return undefined;
  const groups: (string | undefined)[] = [text.slice(match.start, match.end)];
  const slots = readSlots(match.marks, program.groups);
  for (let group = 1; group <= program.groups; group++) {
    const [open, close] = [slots[2 * group], slots[2 * group + 1]];
    groups.push(open === undefined || close === undefined ? undefined : text.slice(open, close));
  }
  return groups;
}

/** The positions noted on one way through the program, the newest first; ways share their older marks. */
interface Mark {
  readonly slot: number;
  readonly clearTo: number;
  readonly position: number;
  readonly older: Mark | undefined;
}

/** One way through the program, waiting for a character at `step`. */
interface Thread {
  readonly step: number;
  readonly start: number;
  readonly marks: Mark | undefined;
}

interface Match {
  readonly start: number;
  readonly end: number;
  readonly marks: Mark | undefined;
}

/**
 * All ways through the program at once, one character after the other. The list of threads is in order of
 * preference: earlier starts first, then the greedier choices. A step is entered once at each position, by the
 * most preferred way to it, so that the time is at most steps times characters.
 */
class Matcher {
  readonly #instructions: readonly Instruction[];
  readonly #text: string;
  readonly #enteredAt: Int32Array;
  readonly #pending: Thread[] = [];
  #threads: Thread[] = [];
  #best: Match | undefined;

  constructor(program: Program, text: string) {
    this.#instructions = program.instructions;
    this.#text = text;
    this.#enteredAt = new Int32Array(program.instructions.length).fill(-1);
  }

  run(): Match | undefined {
    let position = 0;
    for (;;) {
      if (!this.#best) this.#enter({ step: 0, start: position, marks: undefined }, position);
      if (position >= this.#text.length || (this.#best && this.#threads.length === 0)) return this.#best;
      const { code, width } = charAt(this.#text, position);
      position += width;
      this.#take(code, position);
    }
  }

  #take(code: number, position: number): void {
    const threads = this.#threads;
    this.#threads = [];
    for (const { step, start, marks } of threads) {
      if (this.#best && start > this.#best.start) return;
      const instruction = this.#instructions[step];
      if (instruction?.op !== "take" || !instruction.set.has(code)) continue;
      this.#enter({ step: instruction.next, start, marks }, position);
    }
  }

  /** Follows a thread to all steps that wait for the character at `position`. */
  #enter(thread: Thread, position: number): void {
    this.#pending.push(thread);
    for (let next = this.#pending.pop(); next; next = this.#pending.pop()) {
      if (this.#enteredAt[next.step] === position) continue;
      this.#enteredAt[next.step] = position;
      this.#follow(next, position);
    }
  }

  /** Where a thread goes without taking a character; the preferred way is pushed last, to be followed first. */
  #follow(thread: Thread, position: number): void {
    const { step, start, marks } = thread;
    const instruction = this.#instructions[step];
    switch (instruction?.op) {
      case "take":
        this.#threads.push(thread);
        if (instruction.optional) this.#pending.push({ step: step + 1, start, marks });
        return;
      case "split":
        this.#pending.push(
          { step: instruction.second, start, marks },
          { step: instruction.first, start, marks },
        );
        return;
      case "mark": {
        const { slot, clearTo } = instruction;
        this.#pending.push({ step: step + 1, start, marks: { slot, clearTo, position, older: marks } });
        return;
      }
      case "match":
        this.#accept(thread, position);
        return;
      case "start":
      case "end":
        if (position === (instruction.op === "start" ? 0 : this.#text.length)) {
          this.#pending.push({ step: step + 1, start, marks });
        }
    }
  }

  #accept({ start, marks }: Thread, end: number): void {
    if (!this.#best || start <= this.#best.start) this.#best = { start, end, marks };
  }
}

/** The newest position of each slot, undefined where it was cleared since. */
function readSlots(newest: Mark | undefined, groups: number): (number | undefined)[] {
  const slots = new Array<number | undefined>(2 * groups + 2);
  const settled = new Uint8Array(slots.length);
  for (let mark = newest; mark; mark = mark.older) {
    if (!settled[mark.slot]) slots[mark.slot] = mark.position;
    settled.fill(1, mark.slot, mark.clearTo + 1);
  }
  return slots;
}
