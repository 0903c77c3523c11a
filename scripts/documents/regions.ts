// The parts of a document that are generated stand between two lines, which say so to whoever edits it:
// "[generated: NAMES]" and "[end]" in a text, the same as comments in Markdown.

const START = /^( *)(?:\[generated: (.+)\]|<!-- generated: (.+) -->)$/;
const END = /^ *(?:\[end\]|<!-- end -->)$/;

/** The document with each of its generated parts made anew by `render`. Throws where a part has no end, or there is none. */
export function renewRegions(text: string, render: (names: string) => readonly string[]): string {
  const lines: string[] = [];
  let names: string | undefined;
  let count = 0;
  for (const line of text.split("\n")) {
    const start = START.exec(line);
    if (start && names !== undefined) throw new Error(`the generated part ${names} has no end`);
    if (start) {
      names = start[2] ?? start[3] ?? "";
      lines.push(line, "", ...render(names), "");
      count++;
    } else if (END.test(line)) {
      if (names === undefined) throw new Error("the end of a generated part that has no start");
      names = undefined;
      lines.push(line);
    } else if (names === undefined) lines.push(line);
  }
  if (names !== undefined) throw new Error(`the generated part ${names} has no end`);
  if (count === 0) throw new Error("no part is generated");
  return lines.join("\n");
}

/** The document without the lines around generated parts. */
export function dropMarkers(text: string): string {
  const isMarker = (line: string) => START.test(line) || END.test(line);
  return text
    .split("\n")
    .filter((line) => !isMarker(line))
    .join("\n")
    .replaceAll(/\n{4,}/g, "\n\n\n");
}
