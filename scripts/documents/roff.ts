import { fillText } from "../../src/cli/layout.ts";
import { type Part, readPage } from "./page.ts";

const LINE_WIDTH = 80;
const TERM_WIDTH = 22;

/** A document as the source of a manual page, for man(1). Its first line has the title, as that of a page has. */
export function formatRoff(text: string): string {
  const match = /^(\w+)\((\d)\) +(.*?) +\1\(\2\)\n/.exec(text);
  if (!match) throw new Error("the document does not begin with the line of a manual page");
  const [, title = "", section = "", manual = ""] = match;
  const lines = readPage(text).flatMap(formatPart);
  const needless = (index: number) =>
    /^\.(PP|sp)$/.test(lines[index] ?? "") && /^\.S[HS] /.test(lines[index - 1] ?? "");
  return [
    '.\\" Generated from doc/moctl.txt by scripts/generate.',
    `.TH ${title} ${section} "" "mosaic" "${manual}"`,
    // No hyphens of its own, and nothing stretched: the words are commands and paths.
    ".nh",
    ".ad l",
    ...lines.filter((_, index) => !needless(index)),
    "",
  ].join("\n");
}

function formatPart(part: Part): string[] {
  switch (part.kind) {
    case "section":
      return [`.SH ${toArgument(part.text)}`];
    case "heading":
      return [`.SS ${toArgument(part.text)}`];
    case "paragraph":
      return [".PP", ...formatText(part.text)];
    case "item":
      return [".IP \\(bu 2", ...formatText(part.text)];
    case "lines":
      return [".sp", ".RS 4", ".nf", ...part.lines.map(toLine), ".fi", ".RE"];
    case "row":
      return formatRow(part);
  }
}

function formatRow({ term, words, width, below }: Extract<Part, { kind: "row" }>): string[] {
  return [
    `.TP ${Math.min(width, TERM_WIDTH)}`,
    `\\fB${escapeText(term)}\\fR`,
    ...splitErrors(words).flatMap((text, index) => [...(index > 0 ? [".br"] : []), ...formatText(text)]),
    ...(below.length > 0 ? [".RS", ...below.flatMap(formatPart), ".RE"] : []),
  ];
}

/** Each error of an action begins a line. */
function splitErrors(words: readonly string[]): string[] {
  const texts: string[] = [];
  for (const line of words) {
    if (texts.length === 0 || /^[A-Z_]+ \d+: /.test(line)) texts.push(line);
    else texts[texts.length - 1] += ` ${line}`;
  }
  return texts;
}

/** Text that is filled; an object in JSON has no blanks, so it may be broken after its commas. */
function formatText(text: string): string[] {
  return fillText(text, LINE_WIDTH).map((line) => toLine(line).replaceAll(/,(?=["{[])/g, ",\\:"));
}

/** A line of text, which is no request even when it begins like one. */
function toLine(line: string): string {
  const escaped = escapeText(line);
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

function toArgument(text: string): string {
  return `"${escapeText(text).replaceAll('"', "\\(dq")}"`;
}

/** Signs that can be copied as they are: without this, some become typographic ones. */
function escapeText(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti");
}
