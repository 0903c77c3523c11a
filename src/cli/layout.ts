import type { Block } from "../api/manual.ts";

// Text in columns, as the help and the documents have it. Widths and indents are counted in characters.

const WIDTH = 102;
/** How far lines that stay as they are stand to the right of a paragraph. */
const SET_IN = 4;
/** A term longer than this has a line of its own. */
const TERM_MAX = 40;

/** A term and what is said of it. */
export type Row = readonly [term: string, words: readonly Block[]];

/** Blocks with an empty line between them: paragraphs are filled, other lines set in. */
export function layBlocks(blocks: readonly Block[], indent: number): string[] {
  return blocks.flatMap((block, index) => {
    const lines =
      typeof block === "string"
        ? fillText(block, WIDTH - indent).map((line) => indentLine(line, indent))
        : block.map((line) => indentLine(line, indent + SET_IN));
    return index === 0 ? lines : ["", ...lines];
  });
}

/** Rows whose words begin in one column. */
export function layRows(rows: readonly Row[], indent: number, gap = 3): string[] {
  const lengths = rows.map(([term]) => term.length).filter((length) => length <= TERM_MAX);
  const column = indent + Math.max(0, ...lengths) + gap;
  return rows.flatMap(([term, words]) => layRow(term, words, indent, column));
}

/** A text in lines of at most `width`, broken at blanks. */
export function fillText(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

/** A value as JSON in lines of at most `width` where it can be: broken after commas, without a blank that is not its own. */
export function fillJson(value: unknown, width: number): string[] {
  const lines = [""];
  for (const part of JSON.stringify(value).split(/(?<=,)(?=["[{])/)) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && line.length + part.length > width) lines.push(part);
    else lines[lines.length - 1] = line + part;
  }
  return lines;
}

/** The columns that are left at an indent. */
export function widthAt(indent: number): number {
  return WIDTH - indent;
}

function layRow(term: string, words: readonly Block[], indent: number, column: number): string[] {
  // Lines that come first stand where the words do.
  const lines = words.flatMap((block, index) => [
    ...(index > 0 ? [""] : []),
    ...(typeof block !== "string" && index === 0
      ? block.map((line) => indentLine(line, column))
      : layBlocks([block], column)),
  ]);
  const head = indentLine(term, indent);
  const [first = ""] = lines;
  if (first === "") return [head];
  if (head.length >= column) return [head, ...lines];
  return [head.padEnd(column) + first.trimStart(), ...lines.slice(1)];
}

function indentLine(line: string, indent: number): string {
  return line === "" ? "" : " ".repeat(indent) + line;
}
