import type { COMMON_FLAGS } from "./arguments.ts";

/** What the manual says of each common option: its value, and the words. */
export const OPTION_WORDS: Readonly<
  Record<keyof typeof COMMON_FLAGS, { readonly value?: string; readonly words: string }>
> = {
  "--json": {
    words:
      "Print one JSON object on standard output; an error is one object on standard error. Notes and hints are part of the object and not printed.",
  },
  "--dry-run": {
    words:
      'Print the steps that would be taken, one a line, and change nothing. With --json: {"steps":["...","..."]}. All that can be checked without a change is checked, and an error is the same as without the option. Actions that only read print no steps.',
  },
  "--verbose": {
    words:
      "Print each step on standard error when it was taken, with its time in milliseconds; also steps that only read.",
  },
  "--wait": {
    value: "N",
    words:
      "Wait at most N seconds for a volume that another process works on. 30 when absent; 0 does not wait.",
  },
  "--debug": { words: "Print the stack of an error with the code INTERNAL." },
  "--help": { words: "Explain moctl, or an action: moctl mount --help." },
  "--version": { words: 'Print "moctl VERSION".' },
};
