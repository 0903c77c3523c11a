import type { PoolHealth, Space, Usage, VolumeStat } from "../backends/backend.ts";
import type { MosaicError } from "../base/errors.ts";
import type { ImageInfo } from "../images/images.ts";
import type { Finding } from "../location/finding.ts";
import type { Kind, VolumeRecord } from "../location/record.ts";
import type { KernelFeature } from "../system/kernel.ts";

// What the methods of a mosaic answer, as objects of JSON values.

/**
 * What a mosaic can do beyond making, mounting and dropping volumes, in the order in which `info` shows it: clone volumes,
 * make block devices of them, keep and change their sizes; migrate does not exist now.
 */
export type Feature = "clone" | "bdev" | "volsize" | "migrate";

/** What `info` tells of a mosaic. */
export interface MosaicInfo {
  /** The mosaic's name. */
  readonly name: string;
  /** The name of its backend. */
  readonly type: string;
  /** Where the storage is: an absolute path. */
  readonly location: string;
  /** The file that describes it: an absolute path. */
  readonly config: string;
  /** What it can do, in the order of the type. */
  readonly features: readonly Feature[];
  /** What its volumes can be. */
  readonly limits: MosaicLimits;
  /** The space of its location. */
  readonly space: Space;
  /** How well the thin pool is that its volumes are in; null where there is none. */
  readonly pool: PoolHealth | null;
}

/** What volumes of a mosaic can be. Sizes are bytes. */
export interface MosaicLimits {
  readonly kinds: readonly Kind[];
  /** Whether a volume never holds more than its size. */
  readonly sizesAreKept: boolean;
  readonly sizeIsRequired: boolean;
  /** The smallest size, without a filesystem inside. */
  readonly sizeMinBytes: number;
  readonly sizeMaxBytes: number;
  /** Sizes are multiples of this. */
  readonly sizeStepBytes: number;
  /** The filesystems that volumes of kind fs can have inside, and the smallest volume for each. */
  readonly filesystems: Readonly<Record<string, number>>;
  /** How long names can be, and what each group of one matches. */
  readonly names: {
    readonly maxBytes: number;
    readonly groupMaxBytes: number;
    readonly maxGroups: number;
    readonly groupPattern: string;
  };
}

/** What of the host a mosaic uses. */
export interface HostInfo {
  readonly kernel: { readonly release: string; readonly features: readonly KernelFeature[] };
  readonly packages: readonly PackageInfo[];
}

/** A package of tools; `version` is null when a tool of it is missing. */
export interface PackageInfo {
  readonly name: string;
  readonly version: string | null;
  readonly tools: readonly string[];
  readonly missing: readonly string[];
}

/** A volume in full. Sizes are bytes. */
export interface VolumeDetails extends VolumeInfo, Omit<VolumeStat, "record" | "image"> {
  /** The image that it is; null where it is none. */
  readonly image: ImageInfo | null;
  /** The names of the volumes that were cloned from it. */
  readonly clones: readonly string[];
}

/** What `check` found. */
export interface CheckReport {
  /** How many problems are left. */
  readonly problems: number;
  readonly findings: readonly CheckFinding[];
}

/** One thing that `check` found. */
export interface CheckFinding extends Omit<Finding, "advice" | "adoptable" | "repair"> {
  readonly advice: string | null;
  /** Whether `check --repair` can mend it. */
  readonly isRepairable: boolean;
  readonly isRepaired: boolean;
  /** Why a repair failed. */
  readonly error: MosaicError | null;
}

/**
 * A volume as `list` tells it: its record, and how it is used at this moment.
 * @example
 *   const byParent = new Map<string | null, string[]>();
 *   for (const { parent, name } of mosaic.listVolumes())
 *     byParent.set(parent, [...(byParent.get(parent) ?? []), name]);
 */
export interface VolumeInfo extends VolumeRecord {
  /** The name of the volume it was cloned from, while that exists. */
  readonly parent: string | null;
  /** The device, when it is attached, or the URI of its socket. */
  readonly attachedAs: string | null;
  /** Where it is mounted, in every mount namespace. */
  readonly mountedAt: readonly string[];
}

/** Whether a name is a volume; when not, why. */
export interface Existence {
  readonly name: string;
  readonly exists: boolean;
  /** What lies in the name's place that is no volume, and the moctl command that would make it one; null where none would. */
  readonly foreign: { readonly why: string; readonly adopt: string | null } | null;
}

/** What restoring records from a saved list did. */
export interface AdoptReport {
  /** The names whose record was written. */
  readonly adopted: readonly string[];
  /** The names that had it. */
  readonly unchanged: readonly string[];
  readonly failed: readonly { readonly name: string; readonly error: MosaicError }[];
}

/**
 * Where messages go that are no errors, one line each.
 * @example
 *   await using mosaic = await openMosaic("ct", { notify: (line) => console.error(line) });
 *   await mosaic.createVolume("base", { kind: "fs", sizeBytes: 1024 ** 3 });
 */
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
