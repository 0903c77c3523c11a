// A document as the blocks that its layout shows: sections at the edge, paragraphs and headings at two blanks, what belongs
// to a heading at six, and what stands further in stays as it is.

/** A part of a document. */
export type Part =
  | { readonly kind: "section" | "heading" | "paragraph" | "item"; readonly text: string }
  | { readonly kind: "lines"; readonly lines: readonly string[] }
  /** A row of a list: a term, and what is said of it; `below` belongs to it too. */
  | {
      readonly kind: "row";
      readonly term: string;
      readonly words: readonly string[];
      /** How many columns the term has. */
      readonly width: number;
      readonly below: readonly Part[];
    };

interface Block {
  readonly indent: number;
  readonly lines: readonly string[];
}

const OUTER = 2;
const INNER = 6;

/** The parts of a document after its first line. */
export function readPage(text: string): Part[] {
  const [, ...lines] = text.trimEnd().split("\n");
  const blocks = splitBlocks(lines);
  const parts: Part[] = [];
  let base = OUTER;
  let section = "";
  for (let at = 0; at < blocks.length; at++) {
    const block = blocks[at] as Block;
    if (block.indent <= OUTER) base = OUTER;
    if (block.indent === 0) {
      section = block.lines.join(" ");
      parts.push({ kind: "section", text: section });
    } else if (section === "SYNOPSIS") parts.push(toLines(block, OUTER));
    else if (isHeading(block, blocks[at + 1])) {
      parts.push({ kind: "heading", text: block.lines[0]?.trim() ?? "" });
      base = INNER;
    } else {
      const rows = readRows(block);
      const below = rows ? takeBelow(blocks, at + 1, rows.column) : [];
      at += below.length;
      parts.push(
        ...(rows
          ? attach(rows.rows, rows.column - block.indent, readBelow(below, rows.column))
          : readBlock(block, base)),
      );
    }
  }
  return parts;
}

function splitBlocks(lines: readonly string[]): Block[] {
  const blocks: { indent: number; lines: string[] }[] = [];
  let isOpen = false;
  for (const line of lines) {
    if (line === "") isOpen = false;
    else if (isOpen && indentOf(line) >= (blocks.at(-1)?.indent ?? 0)) blocks.at(-1)?.lines.push(line);
    else {
      blocks.push({ indent: indentOf(line), lines: [line] });
      isOpen = true;
    }
  }
  return blocks;
}

/** One line that ends without a stop, and what belongs to it further in. */
function isHeading(block: Block, next: Block | undefined): boolean {
  const [line = ""] = block.lines;
  const isAlone = block.lines.length === 1 && block.indent === OUTER && !/[.:;,)]$|\S {2,}\S/.test(line);
  return isAlone && next !== undefined && next.indent >= INNER;
}

function readBlock({ indent, lines }: Block, base: number): Part[] {
  const text = lines.map((line) => line.trim()).join(" ");
  const isEven = lines.every((line) => indentOf(line) === indent);
  if (indent === base && lines.every((line) => /^ *- |^ {4}/.test(line)) && /^ *- /.test(lines[0] ?? ""))
    return splitItems(lines);
  if (indent === base && isEven) return [{ kind: "paragraph", text }];
  return [toLines({ indent, lines }, Math.min(indent, base + 4))];
}

function toLines({ lines }: Block, cut: number): Part {
  return { kind: "lines", lines: lines.map((line) => line.slice(cut)) };
}

function splitItems(lines: readonly string[]): Part[] {
  const items: string[] = [];
  for (const line of lines) {
    if (/^ *- /.test(line)) items.push(line.trim().slice(2));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return items.map((text) => ({ kind: "item", text }));
}

/** The rows of a list of two columns; undefined when the block is none. */
function readRows({
  indent,
  lines,
}: Block): { column: number; rows: { term: string; words: string[] }[] } | undefined {
  const column = /^ *\S.*? {3,}(?=\S)/.exec(lines[0] ?? "")?.[0].length ?? 0;
  const rows: { term: string; words: string[] }[] = [];
  for (const line of lines) {
    const [term, words] = [line.slice(0, column).trim(), line.slice(column)];
    if (column === 0 || /^\s|\S {3,}\S/.test(words) || words === "") return undefined;
    if (indentOf(line) === indent && /\s{2,}$/.test(line.slice(0, column)))
      rows.push({ term, words: [words] });
    else if (term === "" && rows.length > 0) rows.at(-1)?.words.push(words);
    else return undefined;
  }
  return { column, rows };
}

/** The blocks after a list that stand where its words do: they belong to its last row. */
function takeBelow(blocks: readonly Block[], start: number, column: number): Block[] {
  const end = blocks.findIndex((block, at) => at >= start && block.indent < column);
  return blocks.slice(start, end === -1 ? blocks.length : end);
}

function readBelow(blocks: readonly Block[], column: number): Part[] {
  return blocks.flatMap((block) => readBlock(block, column));
}

function attach(
  rows: readonly { term: string; words: string[] }[],
  width: number,
  below: readonly Part[],
): Part[] {
  const last = rows.length - 1;
  return rows.map((row, index) => ({ kind: "row", ...row, width, below: index === last ? below : [] }));
}

function indentOf(line: string): number {
  return line.search(/\S/);
}
