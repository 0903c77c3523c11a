import { MosaicError } from "../base/errors.ts";
import { parseStoredName, parseVolumeName, type StoredName, type VolumeName } from "../base/names.ts";

/** What a volume holds: a filesystem ready to mount, or a bare disk. */
export type Kind = "fs" | "disk";

/** The facts kept about a volume, on the volume itself. */
export interface VolumeRecord {
  /** Random, for the life of the volume; a clone has its own. */
  readonly id: string;
  /** The name as it was said. */
  readonly name: VolumeName;
  /** Where it lies below the location. */
  readonly storedName: StoredName;
  /** The name of its backend, such as "loop". */
  readonly backend: string;
  readonly kind: Kind;
  /** The filesystem inside a block volume of kind fs, else null. */
  readonly filesystem: string | null;
  /** The size asked for, in bytes; null when none was. */
  readonly sizeBytes: number | null;
  /** The id of the volume that it was cloned from, else null. */
  readonly parentId: string | null;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  /** Empty now. */
  readonly labels: Readonly<Record<string, string>>;
}

/** The attribute that holds the record: xattr(7); only privileged processes see trusted attributes. */
export const RECORD_ATTRIBUTE = "trusted.mosaic.volume";

const VERSION = 1;
const MAX_BYTES = 2048;
/** ISO 8601, UTC. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The record as the value of its attribute. Throws INVALID_ARGUMENT when it is too large. */
export function formatRecord(record: VolumeRecord): string {
  const text = JSON.stringify({ version: VERSION, ...record });
  if (Buffer.byteLength(text) <= MAX_BYTES) return text;
  throw new MosaicError("INVALID_ARGUMENT", `The record of ${record.name} is larger than ${MAX_BYTES} bytes`);
}

/**
 * The record in an attribute's value; undefined when it is not one. Whoever is root in a guest may have written it, so
 * it is bounded, its fields have exactly these types, and nothing in it is believed of any other object.
 */
export function parseRecord(value: Buffer): VolumeRecord | undefined {
  if (value.length > MAX_BYTES) return undefined;
  try {
    const fields = JSON.parse(value.toString()) as Record<string, unknown>;
    return fields.version === VERSION ? checkRecord(fields) : undefined;
  } catch {
    return undefined;
  }
}

/** The record in the fields of a parsed JSON object; throws when a field is missing or of another type. */
export function checkRecord(fields: Record<string, unknown>): VolumeRecord {
  const { id, name, storedName, backend, kind, filesystem, sizeBytes, parentId, createdAt, labels } = fields;
  const isValid =
    isId(id) &&
    typeof name === "string" &&
    typeof storedName === "string" &&
    typeof backend === "string" &&
    (kind === "fs" || kind === "disk") &&
    isNullOr(filesystem, (value) => typeof value === "string" && /^[a-z0-9]{1,16}$/.test(value)) &&
    isNullOr(sizeBytes, (value) => Number.isSafeInteger(value) && Number(value) > 0) &&
    isNullOr(parentId, isId) &&
    typeof createdAt === "string" &&
    TIME.test(createdAt) &&
    isLabels(labels);
  if (!isValid)
    throw new MosaicError("INVALID_ARGUMENT", "A field of the record is missing or of the wrong type");
  return {
    id,
    name: parseVolumeName(name),
    storedName: parseStoredName(storedName),
    backend,
    kind,
    filesystem: filesystem as string | null,
    sizeBytes: sizeBytes as number | null,
    parentId: parentId as string | null,
    createdAt,
    labels,
  };
}

/** Whether the text is an id of a volume. */
export function isId(value: unknown): value is string {
  return typeof value === "string" && ID.test(value);
}

function isNullOr(value: unknown, test: (value: unknown) => boolean): boolean {
  return value === null || test(value);
}

function isLabels(value: unknown): value is Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((label) => typeof label === "string");
}
