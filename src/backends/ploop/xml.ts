import { refused } from "./refusal.ts";

// The part of XML that ploop(8) writes: elements in elements, and text in the innermost ones. What is more than that,
// such as attributes, comments, entities, CDATA and document types, is refused and not skipped, as another reader might
// see another document in it. So nothing in a file can make this one slow, large, or read what is elsewhere.

const MAX_BYTES = 256 * 1024;
const MAX_DEPTH = 8;
const DECLARATION =
  /^<\?xml version="1\.0"(?: encoding="(?:UTF-8|utf-8)")?(?: standalone="(?:yes|no)")?\s*\?>/;
const TOKEN = /<(\/?)([A-Za-z_][\w.-]*)\s*(\/?)>|([^<&>]+)/y;

/** An element: with others in it, or with a text, without the blanks around it. */
export interface XmlElement {
  readonly name: string;
  text: string;
  readonly children: XmlElement[];
}

/** Reads the root element. Throws UNSUPPORTED for all that is no such document, whatever it is. */
export function parseXml(bytes: Buffer, path: string): XmlElement {
  if (bytes.length > MAX_BYTES) throw refused(path, `it is larger than ${MAX_BYTES} bytes`);
  const source = decode(bytes, path);
  const top: XmlElement = { name: "", text: "", children: [] };
  const open = [top];
  TOKEN.lastIndex = DECLARATION.exec(source)?.[0].length ?? 0;
  while (TOKEN.lastIndex < source.length) {
    const start = TOKEN.lastIndex;
    const token = TOKEN.exec(source);
    if (!token || !takeToken(open, token))
      throw refused(path, `line ${lineAt(source, start)} is none that ploop writes`);
  }
  const [root] = top.children;
  if (open.length > 1 || !root || top.children.length > 1 || top.text !== "")
    throw refused(path, "it is not one whole element");
  return root;
}

/** The document as ploop(8) writes it. */
export function formatXml(root: XmlElement): string {
  return `<?xml version="1.0"?>\n${formatElement(root, "")}`;
}

/** The first element of this name in another one. */
export function findChild({ children }: XmlElement, name: string): XmlElement | undefined {
  return children.find((child) => child.name === name);
}

function takeToken(open: XmlElement[], [, end, name, empty, text]: RegExpExecArray): boolean {
  const current = open[open.length - 1] as XmlElement;
  if (text !== undefined) {
    const trimmed = text.trim();
    if (trimmed === "") return true;
    current.text = trimmed;
    return current.children.length === 0;
  }
  if (end) return !empty && open.length > 1 && (open.pop() as XmlElement).name === name;
  const element = { name: String(name), text: "", children: [] };
  current.children.push(element);
  if (!empty) open.push(element);
  return current.text === "" && open.length <= MAX_DEPTH + 1;
}

function decode(bytes: Buffer, path: string): string {
  let source: string;
  try {
    source = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refused(path, "it is not UTF-8");
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(source)) throw refused(path, "it has control characters");
  return source;
}

function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

function formatElement({ name, text, children }: XmlElement, indent: string): string {
  if (children.length === 0)
    return text === "" ? `${indent}<${name}/>\n` : `${indent}<${name}>${text}</${name}>\n`;
  const inner = children.map((child) => formatElement(child, `${indent}  `)).join("");
  return `${indent}<${name}>\n${inner}${indent}</${name}>\n`;
}
