import { BACKENDS, type BackendRow } from "../../src/backends/registry.ts";

/** The table of backends and of what they can do. */
export function tabulateBackends(): string[] {
  const rows: [string, BackendRow][] = Object.entries(BACKENDS);
  const cells = rows.map(([name, { aliases, words }]) => {
    const others = aliases.map((alias) => `\`${alias}\``).join(", ");
    const type = others ? `\`${name}\` (${others})` : `\`${name}\``;
    return [type, words.volume, words.kinds, words.clone, words.device, words.size];
  });
  const head = ["`type`", "a volume is", "kinds", "clone", "block device", "size enforced"];
  const toRow = (row: readonly string[]) => `| ${row.join(" | ")} |`;
  return [toRow(head), `|${"---|".repeat(head.length)}`, ...cells.map(toRow)];
}
