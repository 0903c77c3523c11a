import { ACTION_NAMES, type ActionName, actionOf } from "../api/actions.ts";
import { MANUAL } from "../api/manual.ts";
import { SERVER_STARTS } from "../api/serving.ts";
import { COMMON_FLAGS, formatArgument } from "./arguments.ts";
import { layBlocks, layRows, type Row } from "./layout.ts";
import { describeUse, synopsisOfUse } from "./reference.ts";
import { listStatuses } from "./statuses.ts";

/** The help of moctl, or of one action. */
export function formatHelp(action: ActionName | undefined): string {
  return `${(action ? formatActionHelp(action) : formatMainHelp()).join("\n")}\n`;
}

function formatMainHelp(): string[] {
  const actions = ACTION_NAMES.flatMap((name) =>
    MANUAL[name].map((use): Row => [synopsisOfUse(name, use), [use.summary ?? actionOf(name).summary]]),
  );
  return [
    "moctl configures hybrid storage for virtual machines and containers.",
    "",
    "Usage: moctl CONFIG ACTION ARGUMENT ...",
    "",
    "CONFIG is the path of a config when it begins with '.' or '/', else a name under /etc/mosaic.",
    "An action may be shortened to any prefix; the first that fits, in this order, is meant.",
    "",
    "Actions:",
    ...layTable(actions),
    "",
    "Without a config:",
    ...layTable([
      ["ACTION --help", ["explain one action"]],
      ["man", ["print the manual page: moctl man | man -l -"]],
      ["completion {bash|zsh|fish}", ["print what completes words in a shell"]],
    ]),
    "",
    "For agents, JSON-RPC on standard input and output:",
    ...layTable(Object.entries(SERVER_STARTS).map(([words, summary]): Row => [words, [summary]])),
    "",
    "Options:",
    ...layTable(listOptions()),
    "",
    ...layBlocks([`Exit status: ${listBriefly()}.`], 0),
  ];
}

function formatActionHelp(name: ActionName): string[] {
  const { summary, aliases, arguments: known } = actionOf(name);
  const rows = Object.values(known).map((argument): Row => [formatArgument(argument), [argument.summary]]);
  const uses = MANUAL[name];
  const synopses = uses.map((use) => `moctl CONFIG ${synopsisOfUse(name, use)}`);
  const several = uses.length > 1;
  return [
    `Usage: ${synopses.join("\n       ")}`,
    "",
    `${name}: ${summary}.`,
    ...(aliases ? [`Another word for it is ${aliases.join(", ")}.`] : []),
    "",
    ...(rows.length > 0 ? ["Arguments:", ...layTable(rows), ""] : []),
    ...uses.flatMap((use) => [
      ...(several ? [`${synopsisOfUse(name, use)}:`, ""] : []),
      ...describeUse(use, several ? 2 : 0),
      "",
    ]),
    "Options:",
    ...layTable(listOptions()),
  ];
}

function listOptions(): Row[] {
  return Object.entries(COMMON_FLAGS).map(([flag, words]) => [flag, [words]]);
}

function listBriefly(): string {
  const all = listStatuses().map(({ status, brief }) => `${status} ${brief}`);
  return [...new Set(all)].join(", ");
}

function layTable(rows: readonly Row[]): string[] {
  return layRows(rows, 2, 2);
}
