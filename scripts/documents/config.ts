import { CONFIG_KEYS, type ConfigFields, type ConfigKey, hasKey } from "../../src/api/configschema.ts";
import { BACKENDS, type BackendRow } from "../../src/backends/registry.ts";
import { layBlocks } from "../../src/cli/layout.ts";

// The reference parts of config.txt, from the table of keys.

const KEYS = Object.entries(CONFIG_KEYS) as [keyof ConfigFields, ConfigKey][];
const TYPES: [string, BackendRow][] = Object.entries(BACKENDS);

/** What is said of each key. */
export function describeKeys(): string[] {
  return KEYS.flatMap(([name, key], index) => [
    ...(index > 0 ? [""] : []),
    `  ${name} (${key.value}${describeNeed(name, key)})`,
    ...layBlocks([key.details], 6),
  ]);
}

/** Which type has which key, and with which words. */
export function listKeysOfTypes(): string[] {
  const cells = KEYS.map(([name, key]) => [
    showName(name, key),
    ...TYPES.map(([, row]) => describeCell(name, key, row)),
  ]);
  const table = [["key", ...TYPES.map(([name]) => name)], ...cells];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table.map((row) => {
    const columns = row.map((cell, column) => cell.padEnd((widths[column] ?? 0) + 3));
    return `      ${columns.join("")}`.trimEnd();
  });
}

function describeNeed(name: keyof ConfigFields, key: ConfigKey): string {
  const owners = TYPES.filter(([, row]) => hasKey(row, name)).map(([type]) => type);
  const only = owners.length < TYPES.length ? `; only for type ${listing.format(owners)}` : "";
  return key.absent === undefined ? `, needed${only}` : `; ${key.absent}${only}`;
}

const listing = new Intl.ListFormat("en-GB");

/** A mapping with one key is shown by that. */
function showName(name: string, key: ConfigKey): string {
  const [inside, ...more] = Object.keys(definitionOf(key, undefined).shape ?? {});
  return inside === undefined || more.length > 0 ? name : `${name}.${inside}`;
}

function describeCell(name: keyof ConfigFields, key: ConfigKey, row: BackendRow): string {
  if (!hasKey(row, name)) return "-";
  const def = definitionOf(key, row);
  if (key.absent === undefined) return "needed";
  return def.type === "enum" ? Object.keys(def.entries ?? {}).join(" ") : "yes";
}

interface Definition {
  readonly type: string;
  readonly shape?: object;
  readonly entries?: object;
}

function definitionOf(key: ConfigKey, row: BackendRow | undefined): Definition {
  return key.schema(row)._zod.def as Definition;
}
