import { dirname, resolve } from "node:path";
import { BACKENDS, type BackendName, listTypeWords } from "../backends/registry.ts";
import { type MosaicError, quote } from "../base/errors.ts";
import { parseStoredName } from "../base/names.ts";
import { findNearest } from "../base/nearest.ts";
import type { FilesystemName } from "../filesystems/registry.ts";
import type { ConfigFile } from "./configfile.ts";
import { mosaicNameOf } from "./configfile.ts";
import { CONFIG_KEYS, type ConfigFields, configSchema, hasKey } from "./configschema.ts";
import { ConfigSource } from "./configsource.ts";
import { chooseIssue, describeExpected, describeFound, type SchemaIssue } from "./issues.ts";
import { identityMap, parseVolumeMap, type VolumeMap } from "./volumemap.ts";

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
  /** How the sizes of volumes are kept; undefined when the config does not say. */
  readonly quota: string | undefined;
  /** The most images that a volume may be made of; undefined when the config does not say. */
  readonly chain: number | undefined;
  /** INVALID_CONFIG at the place of a key, for what only the backend can find out. */
  faultAt(key: string, message: string): MosaicError;
}

/** The config in a file. Throws INVALID_CONFIG with file, line, column and the source line. */
export function parseConfig(file: ConfigFile): Config {
  const source = new ConfigSource(file);
  const fields = readFields(source);
  const backend = listTypeWords().get(fields.type) as BackendName;
  const { layout, volumeMap } = fields;
  return {
    mosaicName: mosaicNameOf(file.path),
    file: file.path,
    backend,
    location: resolve(dirname(file.path), fields.location),
    defaultFilesystem: hasKey(BACKENDS[backend], "default_fs") ? (fields.default_fs ?? "ext4") : undefined,
    layoutPath: source.at(["layout", "fs"], () => (layout ? parseStoredName(layout.fs) : "")),
    volumeMap: source.at(["volumeMap"], () =>
      volumeMap === undefined ? identityMap : parseVolumeMap(volumeMap),
    ),
    requireMount: fields.requireMount ?? false,
    quota: fields.quota,
    chain: fields.chain,
    faultAt: (key, message) => source.fault([key], message),
  };
}

function readFields(source: ConfigSource): ConfigFields {
  const value = source.toPlainValue();
  const backend = listTypeWords().get(String(value.type));
  const schema = configSchema(backend && BACKENDS[backend]);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data as unknown as ConfigFields;
  throw describeFault(source, chooseIssue(parsed.error.issues), Object.keys(schema.shape), backend);
}

function describeFault(
  source: ConfigSource,
  issue: SchemaIssue,
  topKeys: readonly string[],
  backend: BackendName | undefined,
): MosaicError {
  const name = issue.path.join(".");
  const [unknown] = issue.keys ?? [];
  if (unknown !== undefined) {
    const known = issue.path.length === 0 ? topKeys : ["fs"];
    return source.faultAtKey(issue.path, unknown, describeUnknownKey(unknown, name, known, backend));
  }
  const expected = describeExpected(issue);
  const value = source.getValue(issue.path);
  if (value !== undefined)
    return source.fault(issue.path, `${name}: expected ${expected}, found ${describeFound(value)}`);
  return source.fault(issue.path.slice(0, -1), `the key ${quote(name)} is missing: expected ${expected}`);
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
    parent === "" && Object.hasOwn(CONFIG_KEYS, key) && backend
      ? `a mosaic of type ${backend} has no key ${quote(key)}`
      : `unknown key ${quote(key)}${where}`;
  return `${what}: ${hint}`;
}
