// The sessions in the manual of the server, and how a message is held against one that is written there.

/** What happens in a session, in order. */
export type Turn =
  | { readonly kind: "client" | "server"; readonly text: string }
  | { readonly kind: "command"; readonly words: readonly string[] };

const MARKS = { "->": "client", "<-": "server" } as const;

/** The sessions of a manual: what stands, indented, below the lines of text of its section. */
export function parseSessions(manual: string): { title: string; turns: Turn[] }[] {
  const section = /^SESSIONS\n\n(.*?)\n\n\n/ms.exec(manual)?.[1] ?? "";
  return [...section.matchAll(/^ {2}(\S[^\n]*):\n\n((?: {6}[^\n]*\n?)+)/gm)].map(
    ([, title = "", lines = ""]) => ({
      title,
      turns: joinLines(lines).map(parseTurn),
    }),
  );
}

/** A line that is indented more goes on with the one above; where a string is cut, a space was. */
function joinLines(lines: string): string[] {
  const joined: string[] = [];
  for (const line of lines.trimEnd().split("\n")) {
    const before = joined.at(-1) ?? "";
    const isInString = (before.replaceAll('\\"', "").match(/"/g) ?? []).length % 2 === 1;
    if (line.startsWith("          "))
      joined[joined.length - 1] = `${before}${isInString ? " " : ""}${line.trim()}`;
    else joined.push(line.trim());
  }
  return joined;
}

function parseTurn(line: string): Turn {
  const [mark = "", ...words] = line.split(" ");
  if (mark === "$") return { kind: "command", words };
  const kind = MARKS[mark as keyof typeof MARKS];
  if (!kind) throw new Error(`no turn of a session: ${line}`);
  return { kind, text: line.slice(3) };
}

const PLACEHOLDERS: Readonly<Record<string, (value: unknown) => boolean>> = {
  TIME: (value) => typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value),
  ID: (value) => typeof value === "string" && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value),
  PID: (value) => Number.isSafeInteger(value) && Number(value) > 0,
  DEVICE: (value) => typeof value === "string" && /^\/dev\/loop\d+$/.test(value),
};

const REST = "...";

/** The value that a message of the manual stands for. */
export function parseExpected(text: string): unknown {
  const words = Object.keys(PLACEHOLDERS).join("|");
  return JSON.parse(
    text
      .replaceAll(new RegExp(`(?<=[:,[])(${words})(?=[,}\\]])`, "g"), '{"placeholder":"$1"}')
      .replaceAll("[...]", `["${REST}"]`)
      .replaceAll(/(?<=[{,])\.\.\.(?=[,}])/g, `"${REST}":0`),
  );
}

/** Where a value is not the expected one; undefined when it is. The items of a batch may come in any order. */
export function findDifference(expected: unknown, actual: unknown, path = ""): string | undefined {
  if (typeof expected !== "object" || expected === null)
    return expected === actual ? undefined : `${path}: ${JSON.stringify(actual)}`;
  if (typeof actual !== "object" || actual === null) return findPlaceholderFault(expected, actual, path);
  if (Array.isArray(expected) && expected[0] === REST) return Array.isArray(actual) ? undefined : path;
  if (Array.isArray(expected) !== Array.isArray(actual)) return path;
  const [wanted, found] = [expected, actual].map(path === "" ? sortById : (value) => value);
  const names = new Set([
    ...Object.keys(wanted ?? {}),
    ...(REST in expected ? [] : Object.keys(found ?? {})),
  ]);
  names.delete(REST);
  const member = (value: object | undefined, name: string) => (value as Record<string, unknown>)[name];
  return [...names]
    .map((name) => findDifference(member(wanted, name), member(found, name), `${path}/${name}`))
    .find((difference) => difference !== undefined);
}

function findPlaceholderFault(expected: object, actual: unknown, path: string): string | undefined {
  const check = PLACEHOLDERS[(expected as { placeholder?: string }).placeholder ?? ""];
  return check?.(actual) ? undefined : `${path}: ${JSON.stringify(actual)}`;
}

function sortById(value: object): object {
  const idOf = (item: unknown) => String((item as { id?: unknown }).id);
  return Array.isArray(value) ? [...value].sort((a, b) => idOf(a).localeCompare(idOf(b))) : value;
}
