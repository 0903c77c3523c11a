import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import type { VolumeRecord } from "../../src/location/record.ts";

/** The record of a new volume of kind fs, whose name is its place. */
export function makeRecord(name: string, backend: string): VolumeRecord {
  return {
    id: crypto.randomUUID(),
    name: parseVolumeName(name),
    storedName: parseStoredName(name),
    backend,
    kind: "fs",
    filesystem: null,
    sizeBytes: null,
    parentId: null,
    createdAt: new Date().toISOString(),
    labels: {},
  };
}
