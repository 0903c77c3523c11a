// Reads what tsc emits as declarations: the exported symbols with their doc comments. It knows the shapes that occur, and
// what it does not know is an error, so that nothing is left out in silence.

/** A doc comment. */
export interface Doc {
  readonly paragraphs: readonly string[];
  /** The lines of its example. */
  readonly example: readonly string[];
}

/** A member of a class or interface; `signature` begins with its name. */
export interface Member {
  readonly signature: string;
  readonly doc: Doc;
}

/** An exported symbol. `signature` is what follows its name, without the members. */
export interface Declaration {
  readonly kind: "class" | "interface" | "type" | "function" | "const";
  readonly name: string;
  readonly signature: string;
  readonly doc: Doc;
  readonly members: readonly Member[];
}

interface Statement {
  readonly comment: string;
  readonly code: string;
}

/** The names that a file exports from other files, by those files. Throws where it exports anything else. */
export function readExports(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const { code } of splitStatements(text)) {
    const match = /^export (?:type )?\{(.*)\} from "\.\/(.*)\.ts"$/s.exec(code);
    if (!match) throw new Error(`expected an export of names from a file, found: ${code}`);
    const [, names = "", file = ""] = match;
    for (const name of names.split(",").flatMap((part) => part.trim().replace(/^type /, "") || []))
      found.set(name, file);
  }
  return found;
}

/** The declaration of a name in the text of its file. Throws when there is none of a known shape. */
export function readDeclaration(text: string, name: string): Declaration {
  const pattern = new RegExp(
    `^export (?:declare )?(class|interface|type|function|const) ${name}\\b(?!\\$)(.*)$`,
    "s",
  );
  for (const { comment, code } of splitStatements(text)) {
    const match = pattern.exec(code);
    if (!match) continue;
    const kind = match[1] as Declaration["kind"];
    const rest = match[2] ?? "";
    const hasMembers = kind === "class" || kind === "interface";
    const brace = hasMembers ? rest.indexOf("{") : rest.length;
    if (comment === "") throw new Error(`${name} has no doc comment`);
    return {
      kind,
      name,
      signature: simplify(rest.slice(0, brace)),
      doc: readDoc(comment),
      members: hasMembers ? readMembers(rest.slice(brace + 1, rest.lastIndexOf("}"))) : [],
    };
  }
  throw new Error(`there is no declaration of ${name}`);
}

function readMembers(text: string): Member[] {
  return splitStatements(text).flatMap(({ comment, code }) => {
    if (/^(private|constructor)\b/.test(code)) return [];
    const signature = simplify(code.replace(/^get (\w+)\(\)/, "$1"));
    if (!/^(\w+|\[Symbol\.\w+\])(\?|<\w+>)?[:(]|^\w+ = /.test(signature))
      throw new Error(`a member of an unknown shape: ${code}`);
    return [{ signature, doc: readDoc(comment) }];
  });
}

/** A type as it is read: without `readonly`, which is said once for all, and without line breaks. */
function simplify(code: string): string {
  if (/\/\*/.test(code)) throw new Error(`a comment inside of a type: ${code}`);
  return code
    .replaceAll(/\s+/g, " ")
    .replaceAll(/\breadonly /g, "")
    .replaceAll(/; \}/g, " }")
    .replaceAll(/(\?: [^;{}()]*?) \| undefined/g, "$1")
    .replace(/^ ?(.*?) ?$/, "$1");
}

/** The text of a comment; an example follows @example, on its line or on the next ones. Throws for other tags. */
function readDoc(comment: string): Doc {
  const inner = comment.replace(/^\/\*\*/, "").replace(/\*\/$/, "");
  const lines = inner.split("\n").map((line, index) => (index === 0 ? line : line.replace(/^\s*\* ?/, "")));
  const [words = "", example = "", ...more] = lines.join("\n").split("@example");
  if (more.length > 0 || /(^|\s)@\w/.test(words)) throw new Error(`a tag that is not known: ${comment}`);
  const paragraphs = words
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.replaceAll(/\s+/g, " ").trim())
    .filter((paragraph) => paragraph !== "");
  return { paragraphs, example: dedent(example) };
}

function dedent(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trimEnd());
  const full = lines.filter((line) => line !== "");
  const depth = Math.min(...full.map((line) => line.search(/\S/)));
  const [first = -1] = lines.flatMap((line, index) => (line === "" ? [] : [index]));
  if (first === -1) return [];
  return lines.slice(first, lines.findLastIndex((line) => line !== "") + 1).map((line) => line.slice(depth));
}

/** The statements at the top of a text, each with the doc comment right above it. */
function splitStatements(text: string): Statement[] {
  const statements: Statement[] = [];
  let comment = "";
  let at = 0;
  for (;;) {
    at += /^\s*/.exec(text.slice(at))?.[0].length ?? 0;
    if (at >= text.length) return statements;
    if (text.startsWith("/*", at)) {
      const end = text.indexOf("*/", at) + 2;
      comment = text.startsWith("/**", at) ? text.slice(at, end) : "";
      at = end;
      continue;
    }
    const end = findEnd(text, at);
    const code = text.slice(at, end).replace(/;$/, "");
    if (!/^import\b|^export \{\}$/.test(code)) statements.push({ comment, code });
    comment = "";
    at = end;
  }
}

/** The end of the statement at a place: after its semicolon, or after the body of a class or interface. */
function findEnd(text: string, start: number): number {
  const hasBody = /^(export )?(declare )?(abstract )?(class|interface)\b/.test(text.slice(start));
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const char = text[at] ?? "";
    if (char === '"' || text.startsWith("/*", at)) {
      at = char === '"' ? text.indexOf('"', at + 1) : text.indexOf("*/", at) + 1;
      continue;
    }
    if ("{([".includes(char)) depth++;
    if ("})]".includes(char) && --depth === 0 && hasBody && char === "}") return at + 1;
    if (char === ";" && depth === 0) return at + 1;
  }
  throw new Error(`a statement without an end: ${text.slice(start, start + 60)}`);
}
