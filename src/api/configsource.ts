import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument, visit } from "yaml";
import { MosaicError } from "../base/errors.ts";
import type { ConfigFile } from "./configfile.ts";
import { VolumeMapError } from "./volumemap.ts";

/** Where a value is in a config: the keys that lead to it. */
export type ConfigPath = readonly (string | number)[];

/** A config's text, its parsed tree, and the places of both. */
export class ConfigSource {
  private readonly lines = new LineCounter();
  private readonly document: Document.Parsed;
  private readonly text: string;

  /** Parses the text. Throws INVALID_CONFIG where it is not one YAML mapping with each key once. */
  constructor(private readonly file: ConfigFile) {
    this.text = file.text.replace(/^\u{feff}/u, "");
    const options = { uniqueKeys: true, strict: true, logLevel: "error", lineCounter: this.lines } as const;
    this.document = parseDocument(this.text, options);
    const [error] = [...this.document.errors, ...this.document.warnings];
    if (error) throw this.faultAtOffset(error.pos[0], describeYamlError(error));
    if (!isMap(this.document.contents)) {
      throw this.faultAtOffset(0, "expected a mapping of keys such as `type: loop`");
    }
    this.requireResolvedAliases();
  }

  /** The mapping as a plain object. Throws INVALID_CONFIG where aliases make it too large. */
  toPlainValue(): Readonly<Record<string, unknown>> {
    try {
      return this.document.toJS() as Record<string, unknown>;
    } catch (thrown) {
      throw this.faultAtOffset(0, (thrown as Error).message);
    }
  }

  /** The value at a path, mappings and lists as plain objects; undefined where there is none. */
  getValue(path: ConfigPath): unknown {
    const node = this.document.getIn(path, true) as Node | undefined;
    return node?.toJS(this.document);
  }

  /** Runs `parse`, whose errors are about the value at `path`. */
  at<T>(path: ConfigPath, parse: () => T): T {
    try {
      return parse();
    } catch (thrown) {
      if (thrown instanceof MosaicError) throw this.fault(path, thrown.message);
      if (!(thrown instanceof VolumeMapError)) throw thrown;
      throw this.fault(path, `${path.join(".")}: ${thrown.message}`, thrown.position);
    }
  }

  /** INVALID_CONFIG at the value of a path, or at a character of it. */
  fault(path: ConfigPath, message: string, position = 0): MosaicError {
    const node = this.findNode(path);
    const [start = 0, end = 0] = node?.range ?? [];
    // Only in a plain scalar is each character of the value one of the source.
    const isPlain = isScalar(node) && node.type === "PLAIN";
    return this.faultAtOffset(
      start + (isPlain ? toSourcePosition(this.text.slice(start, end), position) : 0),
      message,
    );
  }

  /** INVALID_CONFIG at a key of the mapping at a path. */
  faultAtKey(path: ConfigPath, key: string, message: string): MosaicError {
    const parent = path.length === 0 ? this.document.contents : this.document.getIn(path, true);
    const isKey = (candidate: unknown) => isScalar(candidate) && String(candidate.value) === key;
    const pair = isMap(parent) ? parent.items.find((item) => isKey(item.key)) : undefined;
    return this.faultAtOffset((pair?.key as Node | undefined)?.range?.[0] ?? 0, message);
  }

  private findNode(path: ConfigPath): Node | undefined {
    for (let length = path.length; length >= 0; length--) {
      const node = this.document.getIn(path.slice(0, length), true) as Node | undefined;
      if (node?.range) return node;
    }
    return this.document.contents ?? undefined;
  }

  private requireResolvedAliases(): void {
    visit(this.document, {
      Alias: (_key, alias) => {
        if (alias.resolve(this.document)) return;
        throw this.faultAtOffset(alias.range?.[0] ?? 0, `there is no anchor for the alias ${alias.source}`);
      },
    });
  }

  private faultAtOffset(offset: number, message: string): MosaicError {
    const { line, col: column } = this.lines.linePos(offset);
    const file = this.file.path;
    const lineText = (this.text.split("\n")[line - 1] ?? "").replace(/\r$/, "");
    const source = lineText.replaceAll(/[^\P{C}\t]/gu, "\u{fffd}").slice(0, 200);
    const caret = `${source.slice(0, column - 1).replaceAll(/[^\t]/g, " ")}^`;
    const excerpt = `  ${line} | ${source}\n  ${" ".repeat(String(line).length)} | ${caret}`;
    const details = { file, line, column, fault: message, source };
    return new MosaicError("INVALID_CONFIG", `${file}:${line}:${column}: ${message}\n${excerpt}`, details);
  }
}

/** The place in the source of a character of a plain scalar, whose line breaks are one blank each in its value. */
function toSourcePosition(source: string, position: number): number {
  const lineBreak = /[ \t]*\r?\n\s*/y;
  let index = 0;
  for (let count = 0; count < position; count++) {
    lineBreak.lastIndex = index;
    index += lineBreak.exec(source)?.[0].length ?? 1;
  }
  return index;
}

function describeYamlError(error: { code: string; message: string }): string {
  if (error.code === "MULTIPLE_DOCS") return "expected one document, found a second one";
  if (error.code === "DUPLICATE_KEY") return "the key is there twice";
  return error.message.split(/ at line \d+/)[0] ?? error.message;
}
