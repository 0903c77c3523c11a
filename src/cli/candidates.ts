import { readdirSync } from "node:fs";
import { ACTION_NAMES, type ActionName, type Argument, actionOf, findAction } from "../api/actions.ts";
import { CONFIG_ENDINGS, configDirectory, mosaicNameOf } from "../api/configfile.ts";
import { openMosaic } from "../api/open.ts";
import { isServerStart, listServerFlags, SERVER_STARTS } from "../api/serving.ts";
import { formatSize } from "../base/size.ts";
import { plannedSteps } from "../system/steps.ts";
import { COMMON_FLAGS, type Line, SHELLS, type ShellName, splitWords } from "./arguments.ts";

/** A word that would do, and what it is; ":directories" and ":files" ask the shell for those. */
type Candidate = readonly [word: string, what?: string];

/**
 * The words that may stand in place of the last of those typed after "moctl", one a line, a tab before what it is. What
 * cannot be found out is left out: never throws, never waits for a lock, changes nothing.
 */
export async function listCandidates(shellName: ShellName, typed: readonly string[]): Promise<string> {
  // bash gives the words as they stand in the line.
  const plain = typed.map((word) => expandHome(shellName === "bash" ? unquote(word) : word));
  const current = plain.at(-1) ?? "";
  const before = plain.slice(0, -1);
  const candidates = isServerStart(before)
    ? listServerWords(before)
    : await findCandidates(splitWords(before), current);
  const fitting = candidates.filter(([word]) => word.startsWith(":") || word.startsWith(current));
  return fitting.map(([word, what]) => `${what ? `${word}\t${what}` : word}\n`).join("");
}

async function findCandidates(before: Line, current: string): Promise<readonly Candidate[]> {
  const [config, actionWord, ...rest] = before.words;
  const action = actionWord === undefined ? undefined : findAction(actionWord);
  if (before.open !== undefined) return listValues(findFlag(action, before.open), config);
  if (current.startsWith("-") && current !== "-" && !before.isEnded) return listFlags(action, before);
  if (config === undefined) return listFirstWords(current);
  if (actionWord === undefined)
    return [...listActions(), ...(config === "completion" ? SHELLS.map((name) => [name] as const) : [])];
  if (action === undefined) return [];
  const byPlace = Object.values(actionOf(action).arguments).filter(({ flag }) => flag === undefined);
  return listValues(byPlace[rest.length], config);
}

function listFirstWords(current: string): readonly Candidate[] {
  if (/^[./~]/.test(current)) return [[":files"]];
  const names = listConfigs().map((name) => [name, "a mosaic"] as const);
  if (current === "" || names.some(([name]) => name.startsWith(current))) return names;
  return [
    ["completion", "print what completes words in a shell"],
    ["man", "print the manual page"],
  ];
}

function listConfigs(): string[] {
  try {
    const files = readdirSync(configDirectory()).filter((file) =>
      CONFIG_ENDINGS.some((ending) => file.endsWith(ending)),
    );
    return [...new Set(files.map(mosaicNameOf))].filter((name) => /^[A-Za-z0-9][\w.-]*$/.test(name)).sort();
  } catch {
    return [];
  }
}

function listActions(): readonly Candidate[] {
  const actions = ACTION_NAMES.map((name) => [name, actionOf(name).summary] as const);
  return [...actions, ["rpc", SERVER_STARTS["CONFIG rpc"]]];
}

/** What may follow in a line that starts a server. */
function listServerWords(before: readonly string[]): readonly Candidate[] {
  const flags = listServerFlags();
  const choices = flags.find(([flag]) => flag === before.at(-1))?.[1].choices;
  if (choices) return choices.map((choice) => [choice]);
  return flags.filter(([flag]) => !before.includes(flag)).map(([flag, { summary }]) => [flag, summary]);
}

function listFlags(action: ActionName | undefined, before: Line): readonly Candidate[] {
  const own = action ? Object.values(actionOf(action).arguments) : [];
  const flags: Candidate[] = [
    ...own.flatMap(({ flag, summary }) => (flag === undefined ? [] : [[flag, summary] as const])),
    ...Object.entries(COMMON_FLAGS),
    ...(before.words.length === 0 && before.flags.size === 0
      ? [["--rpc", SERVER_STARTS["--rpc"]] as const]
      : []),
  ];
  return flags.filter(([flag]) => !before.flags.has(flag));
}

function findFlag(action: ActionName | undefined, flag: string): Argument | undefined {
  const names = action ? [action] : ACTION_NAMES;
  const known = names.flatMap((name) => Object.values(actionOf(name).arguments));
  return known.find((argument) => argument.flag === flag);
}

async function listValues(argument: Argument | undefined, config: string | undefined) {
  const words = [...(argument?.choices ?? []), ...(argument?.completes ?? [])];
  const lists = words.map(async (word): Promise<readonly Candidate[]> => {
    if (word === "-") return [[word, "the metadata"]];
    return word === ":volumes" ? listVolumes(config) : [[word]];
  });
  return (await Promise.all(lists)).flat();
}

async function listVolumes(config: string | undefined): Promise<readonly Candidate[]> {
  try {
    await using mosaic = await openMosaic(config ?? "", { steps: plannedSteps(() => {}), lockTimeoutMs: 0 });
    return mosaic.listVolumes().map(({ name, kind, sizeBytes }) => {
      const size = sizeBytes === null ? "" : ` ${formatSize(sizeBytes)}`;
      return [name, `${kind}${size}`];
    });
  } catch {
    return [];
  }
}

function expandHome(word: string): string {
  return word.startsWith("~/") && process.env.HOME ? `${process.env.HOME}${word.slice(1)}` : word;
}

/** A word as a shell would take it: without quotes and backslashes; what a quote that is still open holds counts too. */
function unquote(word: string): string {
  const parts = /\\(.)|'([^']*)'?|"((?:\\.|[^"\\])*)"?/gs;
  return word.replaceAll(parts, (_all, escaped?: string, single?: string, double?: string) => {
    return escaped ?? single ?? (double ?? "").replaceAll(/\\([$`"\\])/g, "$1");
  });
}
