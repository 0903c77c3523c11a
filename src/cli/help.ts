import { ACTION_NAMES, type ActionName, actionOf } from "../api/actions.ts";
import { COMMON_FLAGS, synopsisOf } from "./arguments.ts";

/** The help of moctl, or of one action. */
export function formatHelp(action: ActionName | undefined): string {
  return action ? formatActionHelp(action) : formatMainHelp();
}

function formatMainHelp(): string {
  const actions = ACTION_NAMES.map(
    (name) => [synopsisOf(name).replace("moctl CONFIG ", ""), actionOf(name).summary] as const,
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
    ...formatTable(actions),
    "",
    "Options:",
    ...formatTable(Object.entries(COMMON_FLAGS)),
    "",
    "Exit status: 0 done, 1 failed, 2 wrong usage or config, 3 not found, 4 exists, 5 in use, 6 locked, 7 no space,",
    "8 not supported, 9 not available now, 10 damaged, 70 a bug. `moctl ACTION --help` explains one action.",
    "",
  ].join("\n");
}

function formatActionHelp(name: ActionName): string {
  const action = actionOf(name);
  const rows = Object.values(action.arguments).map(
    (argument) =>
      [
        argument.flag ? `${argument.flag} ${argument.label}`.trimEnd() : argument.label,
        argument.summary,
      ] as const,
  );
  const others = action.aliases ? [`Another word for it is ${action.aliases.join(", ")}.`, ""] : [];
  return [
    `Usage: ${synopsisOf(name)}`,
    "",
    `${name}: ${action.summary}.`,
    ...wrap(action.details, 100),
    "",
    ...others,
    ...(rows.length > 0 ? ["Arguments:", ...formatTable(rows), ""] : []),
    "Options:",
    ...formatTable(Object.entries(COMMON_FLAGS)),
    "",
  ].join("\n");
}

function formatTable(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}
