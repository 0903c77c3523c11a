import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fillText, layBlocks, layRows, type Row, widthAt } from "../../src/cli/layout.ts";
import { type Declaration, type Doc, type Member, readDeclaration, readExports } from "./declarations.ts";

// The reference parts of libmosaic.txt, from the doc comments of what src/index.ts exports.

/** Types that are there without an import. */
const KNOWN = new Set("AbortSignal AsyncDisposable Error Omit Promise Readonly Record Symbol T".split(" "));
const HEADING = 2;
const BODY = 6;

/** The exported symbols by name, with the declarations that the compiler emits. */
export function loadLibrary(root: string): Map<string, Declaration> {
  const directory = mkdtempSync(join(tmpdir(), "mosaic-types-"));
  try {
    const argv = ["node_modules/.bin/tsc", "-p", "scripts/tsconfig.types.json", "--outDir", directory];
    const { exitCode, stdout } = Bun.spawnSync(argv, { cwd: root });
    if (exitCode !== 0) throw new Error(`the declarations cannot be made: ${stdout}`);
    const read = (file: string) => readFileSync(join(directory, `${file}.d.ts`), "utf8");
    const exported = readExports(read("index"));
    return new Map([...exported].map(([name, file]) => [name, readDeclaration(read(file), name)]));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What is said of some symbols. Throws for a name that is not exported. */
export function describeSymbols(
  library: ReadonlyMap<string, Declaration>,
  names: readonly string[],
): string[] {
  return names.flatMap((name, index) => {
    const declaration = library.get(name);
    if (!declaration) throw new Error(`src/index.ts does not export ${name}`);
    return [...(index > 0 ? [""] : []), ...describeDeclaration(declaration)];
  });
}

function describeDeclaration(declaration: Declaration): string[] {
  const { kind, name, signature, doc, members } = declaration;
  const isTable = kind === "interface" || signature.includes("extends");
  if (kind === "class" && !isTable) return describeClass(declaration);
  if (isTable) {
    const extending = signature.replace(/^implements .*/, "");
    const rows = members.map((member): Row => [member.signature, member.doc.paragraphs]);
    return [
      ...lay(`${kind} ${name} ${extending}`.trim(), doc.paragraphs),
      "",
      ...layRows(rows, BODY),
      ...describeExample(doc),
    ];
  }
  if (kind === "type") return [...describeType(name, signature, doc), ...describeExample(doc)];
  return [...lay(name + signature, doc.paragraphs), ...describeExample(doc)];
}

/** A class: its own words, and its members as those of an object with its name. */
function describeClass({ name, doc, members }: Declaration): string[] {
  const object = name.toLowerCase();
  const describe = (member: Member) => {
    const separator = member.signature.startsWith("[") ? "" : ".";
    return [
      "",
      ...lay(`${object}${separator}${member.signature}`, member.doc.paragraphs),
      ...describeExample(member.doc),
    ];
  };
  return [...layBlocks(doc.paragraphs, HEADING), ...describeExample(doc), ...members.flatMap(describe)];
}

function describeType(name: string, signature: string, doc: Doc): string[] {
  const type = signature.replace(/^= /, "");
  const words = [...type.matchAll(/"([^"]*)"/g)].map(([, word = ""]) => word);
  const isWords = words.map((word) => JSON.stringify(word)).join(" | ") === type;
  const heading = `type ${name} = ${type}`;
  // A text with a mark that only the compiler sees is said to be just that by its words.
  if (/^string & \{ \[\w+\]: true \}$/.test(type)) return lay(`type ${name}`, doc.paragraphs);
  if (heading.length <= widthAt(HEADING)) return lay(heading, doc.paragraphs);
  const parts = isWords ? fillText(words.join(" "), widthAt(BODY)) : type.split(" | ").filter(Boolean);
  return [...lay(`type ${name}`, doc.paragraphs), "", ...parts.map((part) => " ".repeat(BODY) + part)];
}

function lay(heading: string, paragraphs: readonly string[]): string[] {
  return [
    ...foldSignature(heading, widthAt(HEADING)).map((line) => " ".repeat(HEADING) + line),
    ...(paragraphs.length > 0 ? ["", ...layBlocks(paragraphs, BODY)] : []),
  ];
}

/** A signature that is too long goes on in a second line, further in. */
function foldSignature(text: string, width: number): string[] {
  return fillText(text, width - 4).map((line, index) => (index === 0 ? line : `    ${line}`));
}

function describeExample({ example }: Doc): string[] {
  if (example.length === 0) return [];
  const indent = (line: string) => (line === "" ? "" : " ".repeat(BODY + 4) + line);
  return ["", `${" ".repeat(BODY)}Example`, ...example.map(indent)];
}

/** Throws when an exported symbol is described nowhere or twice, or when a signature has a type of ours that is not exported. */
export function requireComplete(
  library: ReadonlyMap<string, Declaration>,
  described: readonly string[],
): void {
  const wrong = [...library.keys()].filter(
    (name) => described.filter((other) => other === name).length !== 1,
  );
  if (wrong.length > 0) throw new Error(`not described once: ${wrong.join(", ")}`);
  for (const { name, kind, signature, members } of library.values()) {
    const isMarked = kind === "type" && /^= string & /.test(signature);
    const text = isMarked ? "" : [signature, ...members.map((member) => member.signature)].join("\n");
    for (const [word] of text.replaceAll(/"[^"]*"/g, "").matchAll(/\b[A-Z]\w*/g))
      if (!library.has(word) && !KNOWN.has(word))
        throw new Error(`${name} uses ${word}, which is not exported`);
  }
}
