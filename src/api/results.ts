import type { Usage } from "../backends/backend.ts";
import type { MosaicError } from "../base/errors.ts";
import type { Kind, VolumeRecord } from "../location/record.ts";

// What the methods of a mosaic answer, as objects of JSON values.

/** What a mosaic can do beyond making, mounting and dropping volumes, in the order in which `info` shows it. */
export type Feature = "clone" | "bdev" | "volsize" | "migrate";

/** What `info` tells of a mosaic. */
export interface MosaicInfo {
  readonly name: string;
  readonly type: string;
  readonly location: string;
  readonly config: string;
  readonly features: readonly Feature[];
  readonly kinds: readonly Kind[];
}

/** A volume as `list` tells it: its record, and how it is used at this moment. */
export interface VolumeInfo extends VolumeRecord {
  /** The name of the volume it was cloned from, while that exists. */
  readonly parent: string | null;
  /** The device, when it is attached. */
  readonly attachedAs: string | null;
  /** Where it is mounted, in every mount namespace. */
  readonly mountedAt: readonly string[];
}

/** Whether a name is a volume; when not, why. */
export interface Existence {
  readonly name: string;
  readonly exists: boolean;
  /** What lies in the name's place that is no volume, and the command that would make it one. */
  readonly foreign: { readonly why: string; readonly adopt: string | null } | null;
}

/** What restoring records from a saved list did. */
export interface AdoptReport {
  readonly adopted: readonly string[];
  readonly unchanged: readonly string[];
  readonly failed: readonly { readonly name: string; readonly error: MosaicError }[];
}

/** Where messages go that are no errors, one line each. */
export type Notify = (line: string) => void;

/** A record with its use, and the name of its parent where `names` has its id. */
export function describeVolume(
  record: VolumeRecord,
  usage: Usage,
  names: ReadonlyMap<string, string>,
): VolumeInfo {
  const mountedAt = usage.mounts.flatMap((holder) => (holder.kind === "mount" ? [holder.path] : []));
  return {
    ...record,
    parent: record.parentId === null ? null : (names.get(record.parentId) ?? null),
    attachedAs: usage.attachedAs,
    mountedAt,
  };
}
