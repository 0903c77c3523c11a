import { dirname, resolve } from "node:path";
import type { BackendContext, EngineName, PoolLimits } from "../backends/backend.ts";
import { BACKENDS, type BackendName, listTypeWords } from "../backends/registry.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { parseStoredName } from "../base/names.ts";
import { findNearest } from "../base/nearest.ts";
import { parseSize } from "../base/size.ts";
import type { FilesystemName } from "../filesystems/registry.ts";
import type { ConfigFile } from "./configfile.ts";
import { mosaicNameOf } from "./configfile.ts";
import { CONFIG_KEYS, type ConfigFields, configSchema, hasKey, listKeysBelow } from "./configschema.ts";
import { ConfigSource } from "./configsource.ts";
import { chooseIssue, describeExpected, describeFound, type SchemaIssue } from "./issues.ts";
import { identityMap, parseVolumeMap, type VolumeMap } from "./volumemap.ts";

/** The limits of a pool where the config does not say: above these a full one is near. */
const LIMITS: PoolLimits = { data: 90, metadata: 75, overcommit: null };

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
  /** The devices of a thin pool, absolute; undefined when somebody else activates it. */
  readonly pool: BackendContext["pool"];
  /** Where the list of volumes is kept, absolute; undefined when the config does not say. */
  readonly state: string | undefined;
  readonly limits: PoolLimits;
  /** The most images that a volume may be made of; undefined when the config does not say. */
  readonly chain: number | undefined;
  /** Who shows disks of ploop. */
  readonly engine: EngineName | undefined;
  /** INVALID_CONFIG at the place of a key, for what only the backend can find out. */
  faultAt(key: string, message: string): MosaicError;
}

/** The config in a file. Throws INVALID_CONFIG with file, line, column and the source line. */
export function parseConfig(file: ConfigFile): Config {
  const source = new ConfigSource(file);
  const fields = readFields(source);
  const backend = listTypeWords().get(fields.type) as BackendName;
  const { layout, volumeMap, pool, limits } = fields;
  const absolute = (path: string) => resolve(dirname(file.path), path);
  return {
    mosaicName: mosaicNameOf(file.path),
    file: file.path,
    backend,
    location: absolute(fields.location),
    defaultFilesystem: hasKey(BACKENDS[backend], "default_fs") ? (fields.default_fs ?? "ext4") : undefined,
    layoutPath: source.at(["layout", "fs"], () => (layout ? parseStoredName(layout.fs) : "")),
    volumeMap: source.at(["volumeMap"], () =>
      volumeMap === undefined ? identityMap : parseVolumeMap(volumeMap),
    ),
    requireMount: fields.requireMount ?? false,
    quota: fields.quota,
    pool: pool && {
      metadata: absolute(pool.metadata),
      data: absolute(pool.data),
      blockBytes: source.at(["pool", "blockSize"], () => parseBlockSize(pool.blockSize)),
    },
    state: fields.state === undefined ? undefined : absolute(fields.state),
    limits: {
      ...LIMITS,
      ...limits,
      overcommit: typeof limits?.overcommit === "number" ? limits.overcommit : null,
    },
    chain: fields.chain,
    engine: fields.engine,
    faultAt: (key, message) => source.fault([key], message),
  };
}

/** A thin pool has blocks of 64 KiB to 1 GiB, in steps of 64 KiB: dm-thin-pool, thin-provisioning.rst. */
function parseBlockSize(text: string): number {
  const blockBytes = parseSize(text);
  const [step, most] = [64 * 1024, 1024 ** 3];
  if (blockBytes % step === 0 && blockBytes <= most) return blockBytes;
  throw new MosaicError(
    "INVALID_ARGUMENT",
    `pool.blockSize: expected a multiple of 64K up to 1G, found ${quote(text)}`,
  );
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
    const known = issue.path.length === 0 ? topKeys : listKeysBelow(issue.path);
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
