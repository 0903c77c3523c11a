import type { ErrorCode } from "../base/errors.ts";
import type { ActionName } from "./actions.ts";
import { ADOPT } from "./manual/adopt.ts";
import { ATTACH, DETACH } from "./manual/devices.ts";
import { CHECK, HAVE, INFO, LIST } from "./manual/looking.ts";
import { CLONE, CREATE, DROP, RESIZE } from "./manual/making.ts";
import { MOUNT, UMOUNT } from "./manual/mounting.ts";

// What the manual says beyond the table of actions. Loaded only for the help and the documents.

/** A paragraph, which is filled, or lines that stay as they are. */
export type Block = string | readonly string[];

/** What the manual says of an action, or of one way to use it. */
export interface Use {
  /** The arguments of this way, by the names of their values; those of the whole table when absent. */
  readonly takes?: readonly string[];
  /** What this way does, in one line; that of the table when absent. */
  readonly summary?: string;
  readonly text: readonly Block[];
  /** What is printed for people. */
  readonly prints: readonly Block[];
  /** An example of the whole answer with --json. */
  readonly answer?: object;
  /** What is said of that answer. */
  readonly json?: readonly Block[];
  /** When its own errors come; those of every action are not said again. */
  readonly errors: Readonly<Partial<Record<ErrorCode, string>>>;
  /** Sessions of a shell. */
  readonly examples?: readonly (readonly string[])[];
  /** What follows the examples. */
  readonly notes?: readonly Block[];
}

/** The words of the manual for each action: one way to use it, or several. */
export const MANUAL: Readonly<Record<ActionName, readonly [Use, ...Use[]]>> = {
  mount: [MOUNT],
  umount: [UMOUNT],
  attach: [ATTACH],
  detach: [DETACH],
  create: [CREATE],
  clone: [CLONE],
  drop: [DROP],
  info: INFO,
  have: [HAVE],
  list: [LIST],
  adopt: ADOPT,
  resize: [RESIZE],
  check: [CHECK],
};
