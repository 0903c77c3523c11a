import { ACTION_NAMES, type ActionName, type Argument, actionOf, findAction } from "../api/actions.ts";
import { type Block, MANUAL, type Use } from "../api/manual.ts";
import type { ErrorCode } from "../base/errors.ts";
import { COMMON_FLAGS, formatArgument, synopsisOf } from "./arguments.ts";
import { EXIT_CODES } from "./exitcodes.ts";
import { fillJson, layBlocks, layRows, type Row, widthAt } from "./layout.ts";
import { OPTION_WORDS } from "./optionwords.ts";
import { listStatuses } from "./statuses.ts";

// The reference parts of the manual, from the table of actions and the words of manual.ts.

/** How an action is called in one of its ways, such as `adopt --from LIST.json`. */
export function synopsisOfUse(action: ActionName, use: Use): string {
  const { takes } = use;
  if (!takes) return synopsisOf(action).replace("moctl CONFIG ", "");
  const known = actionOf(action).arguments;
  return [action, ...takes.map((name) => formatArgument(known[name] as Argument))].join(" ");
}

/** What the manual says of one way to use an action, below its synopsis. */
export function describeUse(use: Use, indent: number): string[] {
  const examples = (use.examples ?? []).map((lines): Block => lines);
  const after = [...examples, ...(use.notes ?? [])];
  return [
    ...layBlocks(use.text, indent),
    "",
    ...layRows(listAnswers(use, indent), indent),
    ...(after.length > 0 ? ["", ...layBlocks(after, indent)] : []),
  ];
}

/** All actions, each with its synopsis and what is said of it. */
export function describeActions(): string[] {
  const uses = ACTION_NAMES.flatMap((name) => MANUAL[name].map((use) => [name, use] as const));
  return uses.flatMap(([name, use], index) => [
    ...(index > 0 ? ["", ""] : []),
    `  ${synopsisOfUse(name, use)}`,
    "",
    ...describeUse(use, 6),
  ]);
}

/** The synopses of all actions, their arguments in one column. */
export function listSynopses(): string[] {
  const width = Math.max(...ACTION_NAMES.map((name) => name.length)) + 3;
  return ACTION_NAMES.flatMap((name) =>
    MANUAL[name].map((use) => {
      const words = synopsisOfUse(name, use).slice(name.length + 1);
      return `      ${name.padEnd(width)}${words}`.trimEnd();
    }),
  );
}

/** The shortest word for each action, in a sentence, and what stands for another word. */
export function describePrefixes(): string[] {
  const shortest = ACTION_NAMES.map((name) => {
    const prefixes = [...name].map((_, index) => name.slice(0, index + 1));
    return [prefixes.find((prefix) => findAction(prefix) === name) ?? name, name] as const;
  });
  const [first, ...rest] = shortest.map(([prefix, name]) => [prefix, name]);
  const list = [first?.join(" is "), ...rest.map((pair) => pair.join(" "))].join(", ");
  const others = ACTION_NAMES.flatMap((name) =>
    (actionOf(name).aliases ?? []).map(
      (alias) => `${alias}, and every prefix of it, is another word for ${name}.`,
    ),
  );
  const text = `An action may be shortened to any prefix. The first that fits counts, in the order of the synopsis: ${list}. ${others.join(" ")} fs and disk may be shortened too.`;
  return layBlocks([text], 2);
}

/** The options that every action has. */
export function describeOptions(): string[] {
  const flags = Object.keys(COMMON_FLAGS) as (keyof typeof COMMON_FLAGS)[];
  const rows = flags.map((flag): Row => {
    const { value, words } = OPTION_WORDS[flag];
    return [value ? `${flag} ${value}` : flag, [words]];
  });
  return layRows(rows, 2);
}

/** The exit statuses with the codes of errors. */
export function describeStatuses(): string[] {
  const rows = listStatuses().map(
    ({ status, code, when }): Row => [code ? `${status} ${code}` : status, [when]],
  );
  return layRows(rows, 6);
}

function listAnswers(use: Use, indent: number): Row[] {
  const column = indent + "prints   ".length;
  const answer: Block[] = use.answer ? [fillJson(use.answer, widthAt(column))] : [];
  const json = [...answer, ...(use.json ?? [])];
  const errors = Object.entries(use.errors).map(
    ([code, when]): Row => ["", [`${code} ${EXIT_CODES[code as ErrorCode]}: ${when}`]],
  );
  return [
    ["prints", use.prints],
    ...(json.length > 0 ? [["--json", json] as const] : []),
    ...errors.map(([, words], index): Row => [index === 0 ? "errors" : "", words]),
  ];
}
