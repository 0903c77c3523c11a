import { dirname, resolve } from "node:path";
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import { BACKENDS, type BackendName, listTypeWords } from "../backends/registry.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { parseStoredName } from "../base/names.ts";
import { findNearest } from "../base/nearest.ts";
import type { FilesystemName } from "../filesystems/registry.ts";
import type { ConfigFile } from "./configfile.ts";
import { mosaicNameOf } from "./configfile.ts";
import { type ConfigFields, configSchema } from "./configschema.ts";
import { identityMap, parseVolumeMap, type VolumeMap, VolumeMapError } from "./volumemap.ts";

/** A config, checked. */
export interface Config {
  readonly mosaicName: string;
  readonly file: string;
  readonly backend: BackendName;
  /** Absolute. */
  readonly location: string;
  readonly defaultFilesystem: FilesystemName | undefined;
  /** Relative to the location; empty when the metadata is the location itself. */
  readonly layoutPath: string;
  readonly volumeMap: VolumeMap;
  readonly requireMount: boolean;
  /** INVALID_CONFIG at the place of a key, for what only the backend can find out. */
  faultAt(key: string, message: string): MosaicError;
}

type Path = readonly (string | number)[];

/** The config in a file. Throws INVALID_CONFIG with file, line, column and the source line. */
export function parseConfig(file: ConfigFile): Config {
  const source = new ConfigSource(file);
  const fields = source.readFields();
  const backend = listTypeWords().get(fields.type) as BackendName;
  return {
    mosaicName: mosaicNameOf(file.path),
    file: file.path,
    backend,
    location: resolve(dirname(file.path), fields.location),
    defaultFilesystem: BACKENDS[backend].hasDefaultFilesystem ? (fields.default_fs ?? "ext4") : undefined,
    layoutPath: source.at(["layout", "fs"], () => (fields.layout ? parseStoredName(fields.layout.fs) : "")),
    volumeMap: source.at(["volumeMap"], () =>
      fields.volumeMap === undefined ? identityMap : parseVolumeMap(fields.volumeMap),
    ),
    requireMount: fields.requireMount ?? false,
    faultAt: (key, message) => source.fault([key], message),
  };
}

/** A config's text, its parsed tree, and the places of both. */
class ConfigSource {
  private readonly lines = new LineCounter();
  private readonly document: Document.Parsed;

  constructor(private readonly file: ConfigFile) {
    const options = { uniqueKeys: true, strict: true, logLevel: "error", lineCounter: this.lines } as const;
    this.document = parseDocument(file.text, options);
    const [error] = this.document.errors;
    if (error) throw this.faultAtOffset(error.pos[0], describeYamlError(error));
  }

  readFields(): ConfigFields {
    if (!isMap(this.document.contents))
      throw this.faultAtOffset(0, "expected a mapping of keys such as `type: loop`");
    const value = this.toPlainValue();
    const words = listTypeWords();
    const backend = words.get(String((value as { type?: unknown }).type));
    const schema = configSchema(
      [...words.keys()],
      backend === undefined || BACKENDS[backend].hasDefaultFilesystem,
    );
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data as ConfigFields;
    const [issue] = parsed.error.issues;
    throw this.describeIssue(issue as unknown as SchemaIssue, Object.keys(schema.shape), backend);
  }

  /** Runs `parse`, whose errors are about the value at `path`. */
  at<T>(path: Path, parse: () => T): T {
    try {
      return parse();
    } catch (thrown) {
      if (thrown instanceof MosaicError) throw this.fault(path, thrown.message);
      if (thrown instanceof VolumeMapError)
        throw this.fault(path, `${path.join(".")}: ${thrown.message}`, thrown.position);
      throw thrown;
    }
  }

  fault(path: Path, message: string, position = 0): MosaicError {
    const node = this.findNode(path);
    // Only in a plain scalar is each character of the value one of the source.
    const isPlain = isScalar(node) && node.type === "PLAIN" && !String(node.source).includes("\n");
    return this.faultAtOffset((node?.range?.[0] ?? 0) + (isPlain ? position : 0), message);
  }

  private toPlainValue(): unknown {
    try {
      return this.document.toJS();
    } catch (thrown) {
      throw this.faultAtOffset(0, (thrown as Error).message);
    }
  }

  private findNode(path: Path): Node | undefined {
    for (let length = path.length; length >= 0; length--) {
      const node = this.document.getIn(path.slice(0, length), true) as Node | undefined;
      if (node?.range) return node;
    }
    return this.document.contents ?? undefined;
  }

  private findKey(path: Path, key: string): number {
    const parent = path.length === 0 ? this.document.contents : this.document.getIn(path, true);
    const pair = isMap(parent)
      ? parent.items.find((item) => isScalar(item.key) && String(item.key.value) === key)
      : undefined;
    return (pair?.key as Node | undefined)?.range?.[0] ?? 0;
  }

  private describeIssue(
    issue: SchemaIssue,
    topKeys: string[],
    backend: BackendName | undefined,
  ): MosaicError {
    const path = issue.path;
    const name = path.join(".");
    const [key] = issue.keys ?? [];
    if (issue.code === "unrecognized_keys" && key !== undefined) {
      return this.faultAtOffset(
        this.findKey(path, key),
        describeUnknownKey(key, name, path.length === 0 ? topKeys : ["fs"], backend),
      );
    }
    const value = this.document.getIn(path) as unknown;
    if (value === undefined)
      return this.fault(
        path.slice(0, -1),
        `the key ${quote(name)} is missing: expected ${describeExpected(issue)}`,
      );
    return this.fault(path, `${name}: expected ${describeExpected(issue)}, found ${describeFound(value)}`);
  }

  private faultAtOffset(offset: number, message: string): MosaicError {
    const { line, col } = this.lines.linePos(offset);
    const { path, text } = this.file;
    const sourceLine = (text.split("\n")[line - 1] ?? "")
      .replaceAll(/[^\P{C}\t]/gu, "\u{fffd}")
      .slice(0, 200);
    const gutter = String(line);
    const caret = `${sourceLine.slice(0, col - 1).replaceAll(/[^\t]/g, " ")}^`;
    const excerpt = `  ${gutter} | ${sourceLine}\n  ${" ".repeat(gutter.length)} | ${caret}`;
    return new MosaicError("INVALID_CONFIG", `${path}:${line}:${col}: ${message}\n${excerpt}`, {
      file: path,
      line,
      column: col,
      fault: message,
      source: sourceLine,
    });
  }
}

interface SchemaIssue {
  readonly code: string;
  readonly path: readonly (string | number)[];
  readonly expected?: string;
  readonly values?: readonly string[];
  readonly keys?: readonly string[];
  readonly minimum?: number;
}

function describeYamlError(error: { code: string; message: string }): string {
  if (error.code === "MULTIPLE_DOCS") return "expected one document, found a second one";
  if (error.code === "DUPLICATE_KEY") return "the key is there twice";
  return error.message.split(/ at line \d+/)[0] ?? error.message;
}

function describeUnknownKey(
  key: string,
  parent: string,
  known: readonly string[],
  backend: BackendName | undefined,
): string {
  const nearest = findNearest(key, known);
  const where = parent === "" ? "" : ` in ${parent}`;
  const hint = nearest ? `did you mean ${quote(nearest)}?` : `expected one of ${known.join(", ")}`;
  const what =
    key === "default_fs" && backend
      ? `a mosaic of type ${backend} has no key ${quote(key)}`
      : `unknown key ${quote(key)}${where}`;
  return `${what}: ${hint}`;
}

function describeExpected(issue: SchemaIssue): string {
  if (issue.values) return `one of ${issue.values.join(", ")}`;
  if (issue.code === "too_small") return "a text that is not empty";
  if (issue.expected === "boolean") return "true or false";
  if (issue.expected === "object") return "a mapping";
  return issue.expected === "string" ? "a text" : (issue.expected ?? "another value");
}

function describeFound(value: unknown): string {
  if (value === null) return "nothing";
  if (typeof value === "string") return quote(value.slice(0, 60));
  if (typeof value === "object") return Array.isArray(value) || !isMap(value) ? "a list" : "a mapping";
  return String(value);
}
