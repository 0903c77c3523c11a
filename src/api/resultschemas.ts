import type * as zod from "zod/mini";

/** The words that the schemas use: whoever gives them decides how much of zod is loaded. */
export type SchemaWords = Pick<
  typeof zod,
  | "array"
  | "boolean"
  | "enum"
  | "int"
  | "literal"
  | "looseObject"
  | "minimum"
  | "nullable"
  | "record"
  | "strictObject"
  | "string"
  | "union"
  | "unknown"
>;

/**
 * What actions answer, as schemas by the names that the table of actions uses; the interfaces in results.ts say the same
 * to the compiler. A function, because schemas at module level would cost every start.
 */
export function resultSchemas(z: SchemaWords) {
  const text = z.string();
  const bytes = z.int().check(z.minimum(0));
  const nullable = { text: z.nullable(text), bytes: z.nullable(bytes) };
  const texts = z.array(text);
  const kind = z.enum(["fs", "disk"]);
  const error = z.looseObject({
    code: text,
    message: text,
    retryable: z.boolean(),
    details: z.looseObject({}),
  });

  const recordFields = {
    id: text,
    name: text,
    storedName: text,
    backend: text,
    kind,
    filesystem: nullable.text,
    sizeBytes: nullable.bytes,
    parentId: nullable.text,
    createdAt: text,
    labels: z.record(text, text),
  };
  const infoFields = {
    ...recordFields,
    parent: nullable.text,
    attachedAs: nullable.text,
    mountedAt: texts,
  };
  const holder = z.union([
    z.strictObject({
      kind: z.literal("mount"),
      path: text,
      pid: z.int(),
      namespace: text,
      readOnly: z.boolean(),
    }),
    z.strictObject({ kind: z.literal("process"), pid: z.int(), command: text, path: text }),
    z.strictObject({ kind: z.literal("device"), device: text, attached: z.boolean() }),
  ]);
  const mosaicFields = {
    name: text,
    type: text,
    location: text,
    config: text,
    features: z.array(z.enum(["clone", "bdev", "volsize", "migrate"])),
    limits: limitsSchema(z),
    space: z.strictObject({ filesystem: text, sizeBytes: bytes, usedBytes: bytes, availableBytes: bytes }),
    pool: z.nullable(poolSchema(z)),
  };
  const details = z.strictObject({
    ...infoFields,
    virtualBytes: nullable.bytes,
    allocatedBytes: bytes,
    exclusiveBytes: nullable.bytes,
    inside: z.nullable(z.strictObject({ sizeBytes: bytes, usedBytes: bytes })),
    holders: z.array(holder),
    clones: texts,
    image: z.nullable(
      z.strictObject({ format: text, chain: texts, blockdev: z.record(z.string(), z.unknown()) }),
    ),
  });
  return {
    mount: z.strictObject({ volume: text, mountPoint: text, readOnly: z.boolean() }),
    umount: z.strictObject({ volume: text, mountPoint: text }),
    device: z.strictObject({ volume: text, device: text }),
    volume: z.strictObject({ volume: text }),
    record: z.strictObject(recordFields),
    mosaic: z.strictObject({ ...mosaicFields, host: hostSchema(z) }),
    details,
    existence: z.strictObject({
      name: text,
      exists: z.boolean(),
      foreign: z.nullable(z.strictObject({ why: text, adopt: nullable.text })),
    }),
    list: z.strictObject({ volumes: z.array(z.strictObject(infoFields)) }),
    adoptReport: z.strictObject({
      adopted: texts,
      unchanged: texts,
      failed: z.array(z.strictObject({ name: text, error })),
    }),
    checkReport: z.strictObject({
      problems: bytes,
      findings: z.array(
        z.strictObject({
          code: text,
          severity: z.enum(["problem", "note"]),
          subject: text,
          message: text,
          advice: nullable.text,
          isRepairable: z.boolean(),
          isRepaired: z.boolean(),
          error: z.nullable(error),
        }),
      ),
    }),
  };
}

/** The names of the schemas. */
export type ResultName = keyof ReturnType<typeof resultSchemas>;

function limitsSchema(z: SchemaWords) {
  const bytes = z.int().check(z.minimum(0));
  return z.strictObject({
    kinds: z.array(z.enum(["fs", "disk"])),
    sizesAreKept: z.boolean(),
    sizeIsRequired: z.boolean(),
    sizeMinBytes: bytes,
    sizeMaxBytes: bytes,
    sizeStepBytes: bytes,
    filesystems: z.record(z.string(), bytes),
    names: z.strictObject({
      maxBytes: bytes,
      groupMaxBytes: bytes,
      maxGroups: bytes,
      groupPattern: z.string(),
    }),
  });
}

function poolSchema(z: SchemaWords) {
  const number = z.int().check(z.minimum(0));
  return z.strictObject({
    mode: z.enum(["inactive", "rw", "ro", "out-of-data-space", "failed"]),
    needsCheck: z.boolean(),
    transaction: number,
    dataBytes: number,
    usedDataBytes: number,
    metadataBytes: number,
    usedMetadataBytes: number,
  });
}

function hostSchema(z: SchemaWords) {
  const text = z.string();
  const feature = z.strictObject({
    name: text,
    since: text,
    isRequired: z.boolean(),
    isThere: z.boolean(),
  });
  return z.strictObject({
    kernel: z.strictObject({ release: text, features: z.array(feature) }),
    packages: z.array(
      z.strictObject({
        name: text,
        version: z.nullable(text),
        tools: z.array(text),
        missing: z.array(text),
      }),
    ),
  });
}
