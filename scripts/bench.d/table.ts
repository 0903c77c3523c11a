import { quantile, ratiosOf, type Samples } from "./measure.ts";

/** What a part found: a table, and below it the scripts that were measured. */
export interface Section {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly scripts?: string;
}

/** The columns of a comparison, whose rows `compare` makes. */
export function comparisonHeader(what: string, ours: string, base: string): string[] {
  return [what, ours, base, "ratio of time", "ratio of CPU", "aim", "runs"];
}

/** A row of a comparison: medians in milliseconds; ratios with the middle half of what was seen. */
export function compare(what: string, ours: Samples, base: Samples, aim = ""): string[] {
  return [
    what,
    formatMs(quantile(ours.wallMs, 0.5)),
    formatMs(quantile(base.wallMs, 0.5)),
    formatRatios(ratiosOf(ours.wallMs, base.wallMs)),
    formatRatios(ratiosOf(ours.cpuMs, base.cpuMs)),
    aim,
    String(ours.wallMs.length),
  ];
}

/** The section as Markdown. */
export function formatSection({ title, header, rows, scripts }: Section): string {
  const table = [header, header.map((_, column) => (column === 0 ? "---" : "---:")), ...rows];
  const widths = header.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map(
    (row) => `| ${row.map((cell, column) => align(cell, widths, column)).join(" | ")} |`,
  );
  const code = scripts ? `\n\`\`\`sh\n${scripts}\n\`\`\`\n` : "";
  return `### ${title}\n\n${lines.join("\n")}\n${code}`;
}

function align(cell: string, widths: readonly number[], column: number): string {
  const width = widths[column] ?? 0;
  return column === 0 ? cell.padEnd(width) : cell.padStart(width);
}

function formatMs(ms: number): string {
  return `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

/** The median of ratios, with the middle half of them. */
export function formatRatios(ratios: readonly number[]): string {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => quantile(ratios, part).toFixed(2));
  return `${middle} (${low} to ${high})`;
}
