import type { MosaicError } from "../base/errors.ts";
import type { FilesystemUse } from "../filesystems/filesystem.ts";
import type { FilesystemName } from "../filesystems/registry.ts";
import type { ImageInfo } from "../images/images.ts";
import type { Finding } from "../location/finding.ts";
import type { Kind, VolumeRecord } from "../location/record.ts";
import type { Found, LockedVolume, VolumeAddress } from "../location/volumes.ts";
import type { DirectoryPlace, Holder } from "../system/holders.ts";
import type { Steps } from "../system/steps.ts";

// What one storage technology gives to a mosaic. A backend is a plain object of functions. An optional member is there
// when and only when it works: the features that `info` shows are read off the object, there is no flag beside the code.
//
// Rules for every member: it throws a MosaicError and nothing else, and when it throws, the storage is as it was. Sizes
// are bytes, paths absolute, names mapped and checked. Every change is a step, see system/steps.ts.

/** What every backend gives. */
export interface BackendCore {
  /** A name of the storage that is the same for every process until the next reboot. */
  readonly identity: string;
  /** What volumes can be made of. */
  readonly limits: Limits;
  /** The space that volumes are made in. */
  space(): Space;
  /** How well the pool is in which the volumes are; absent where there is none. */
  readonly pool?: () => PoolHealth;
  /** The mosaic's metadata: a directory, which throws NOT_FOUND when that of the layout is not there, or a device. */
  readonly metadata: (() => DirectoryPlace & { readonly fd: number }) | BlockMetadata;
  /** Makes an empty volume with this record. Throws ALREADY_EXISTS, NO_SPACE. */
  create(record: VolumeRecord): Promise<void>;
  /** What is at an address: a volume (maybe another one's), a foreign object, or nothing. Throws DAMAGED. */
  find(address: VolumeAddress): Found;
  /** The records of all volumes. */
  list(): Iterable<VolumeRecord>;
  /** Destroys a volume and its data. Throws NOT_FOUND, BUSY. */
  drop(address: VolumeAddress): Promise<void>;
  /** Gives a foreign object this record; gives the record as written. Throws NOT_FOUND, ALREADY_EXISTS, UNSUPPORTED. */
  adopt(record: VolumeRecord): Promise<VolumeRecord>;
  /** Looks at the kernel once; the function says for each volume how it is used at that moment. */
  survey(): (record: VolumeRecord) => Usage;
  /** How large a volume is and what it takes, and who holds it; takes no lock. Throws NOT_FOUND, DAMAGED. */
  stat(address: VolumeAddress): Promise<VolumeStat>;
  /** What is wrong, or worth knowing, at the location; changes nothing, a finding's `repair` does. */
  check(): AsyncIterable<Finding>;
  /** Makes a writable copy-on-write copy, whose record `makeRecord` makes from the origin's. Throws NOT_FOUND, ALREADY_EXISTS, UNSUPPORTED, NO_SPACE. */
  readonly clone?: (
    origin: VolumeAddress,
    makeRecord: (origin: VolumeRecord) => VolumeRecord,
  ) => Promise<VolumeRecord>;
  /**
   * Gives a volume another size, also one that is in use; gives the record as written. It is there when sizes are kept:
   * then a volume never holds more than its size. A run that was killed is completed by the same call. Throws NOT_FOUND,
   * BUSY, UNSUPPORTED for a shrink that cannot be, INVALID_ARGUMENT for one that was not allowed, TOOL_FAILED, NO_SPACE.
   */
  readonly resize?: (
    address: VolumeAddress,
    sizeBytes: number,
    options: ResizeOptions,
  ) => Promise<VolumeRecord>;
  /** Why sizes are not kept although the config asks for it: UNAVAILABLE with what to do. Then there is no `resize`. */
  readonly sizeObstacle?: MosaicError | undefined;
  /** Ends the use of the location. */
  close(): void;
}

/** How a volume is resized. */
export interface ResizeOptions {
  /** Whether it may become smaller. */
  readonly shrink: boolean;
}

/** What a volume takes, in bytes. */
export interface VolumeStat {
  readonly record: VolumeRecord;
  /** What its users see as its size; null when nothing limits it. */
  readonly virtualBytes: number | null;
  /** What it takes of the location, shared data included. */
  readonly allocatedBytes: number;
  /** What a drop would free; null when it cannot be told. */
  readonly exclusiveBytes: number | null;
  /** The filesystem in it; null for a disk, for a directory, and where it cannot be told without a mount. */
  readonly inside: FilesystemUse | null;
  readonly holders: readonly Holder[];
  /** The image that it is; absent where it is none. */
  readonly image?: ImageInfo;
}

/** A volume nobody can reach is no volume: there is at least one way in. */
export type WayIn =
  | { readonly block: BlockAccess; readonly directory?: DirectoryAccess }
  | { readonly directory: DirectoryAccess; readonly block?: BlockAccess };

/** What one storage technology gives to a mosaic. */
export type Backend = BackendCore & WayIn;

/** Volumes as block devices. */
export interface BlockAccess {
  /** Makes a device that stays until it is detached; gives its path. Throws BUSY when there is one. */
  attach(address: VolumeAddress, readOnly: boolean): Promise<string>;
  /** Shows the volume by NBD at a unix socket, in place of a device, until it is detached; gives the URI. Throws BUSY when it is in use. */
  serve?(address: VolumeAddress, readOnly: boolean): Promise<string>;
  /** Removes the device, or the socket. Throws NOT_FOUND when it is not attached, BUSY with the holders. */
  detach(address: VolumeAddress): Promise<void>;
  /** Gives the volume locked, with its device, made for this use where there is none; it goes with its last user. */
  open(address: VolumeAddress, readOnly: boolean): Promise<OpenBlockVolume>;
  /** Gives the volume locked, with the device it has now. */
  look(address: VolumeAddress): Promise<LookedBlockVolume>;
}

/** Metadata that is a filesystem on a device of its own, made on its first use. */
export interface BlockMetadata {
  open(readOnly: boolean): Promise<OpenBlockVolume>;
  look(): Promise<LookedBlockVolume>;
}

/** A locked volume with the device that it has, maybe none. */
export type LookedBlockVolume = Omit<OpenBlockVolume, "device"> & {
  readonly device: BlockDevice | undefined;
};

/** A block device of a volume. */
export interface BlockDevice {
  /** Such as "/dev/loop3", and its device number, such as "7:3". */
  readonly path: string;
  readonly number: string;
  readonly readOnly: boolean;
  /** Whether it goes by itself with its last user, because nobody attached it. */
  readonly autoclear: boolean;
}

/** A locked volume and its device, until it is closed. */
export interface OpenBlockVolume {
  readonly record: VolumeRecord;
  readonly device: BlockDevice;
  /** Waits until the device is gone, when nothing uses it any more and nobody attached it. */
  settle(): Promise<void>;
  /** A device that was made for this use, and that nothing else uses now, is gone then. */
  close(): Promise<void>;
}

/** Volumes as directories. */
export interface DirectoryAccess {
  /** Gives the volume locked and its directory open. Throws NOT_FOUND, LOCKED. */
  open(address: VolumeAddress): Promise<LockedVolume & { readonly place: DirectoryPlace }>;
}

/** What volumes of a backend can be. */
export interface Limits {
  readonly kinds: readonly Kind[];
  /** Whether a volume must be given a size. */
  readonly sizeIsRequired: boolean;
  /** Sizes are multiples of this, in bytes. */
  readonly sizeStepBytes: number;
  /** The largest size, in bytes. */
  readonly sizeMaxBytes: number;
  /** The filesystems that volumes of kind fs can have inside, and the smallest volume for each, in bytes. */
  readonly filesystems: Readonly<Partial<Record<FilesystemName, number>>>;
}

/** What volumes that are directories can be. */
export const TREE_LIMITS: Limits = {
  kinds: ["fs"],
  sizeIsRequired: false,
  sizeStepBytes: 1,
  sizeMaxBytes: Number.MAX_SAFE_INTEGER,
  filesystems: {},
};

/** The space of a location in bytes, shared by everything on its filesystem. */
export interface Space {
  readonly filesystem: string;
  readonly sizeBytes: number;
  readonly usedBytes: number;
  /** What can still be written, without what is reserved. */
  readonly availableBytes: number;
}

/** How well a thin pool is. The numbers are 0 where the kernel tells none, as of a pool that has failed. */
export interface PoolHealth {
  /** ro: nothing can be changed; out-of-data-space: what needs a new block waits or fails; failed: nothing can be read. */
  readonly mode: "inactive" | "rw" | "ro" | "out-of-data-space" | "failed";
  /** Whether its metadata must be checked before it is written again. */
  readonly needsCheck: boolean;
  /** The transaction id, by which the list of volumes knows it. */
  readonly transaction: number;
  readonly dataBytes: number;
  readonly usedDataBytes: number;
  readonly metadataBytes: number;
  readonly usedMetadataBytes: number;
}

/** How a volume is used at one moment, in every mount namespace. */
export interface Usage {
  readonly attachedAs: string | null;
  readonly mounts: readonly Holder[];
}

/** From where on a pool counts as full, in percent; `overcommit` is the sum of all sizes, null when it is not limited. */
export interface PoolLimits {
  readonly data: number;
  readonly metadata: number;
  readonly overcommit: number | null;
}

/** What a config can say of who shows disks of ploop. */
export type EngineName = "auto" | "kernel" | "qemu";

/** What a backend gets to work with. */
export interface BackendContext {
  readonly steps: Steps;
  /** As the config says it, made absolute. */
  readonly location: string;
  readonly layoutPath: string;
  readonly requireMount: boolean;
  /** How the config wants the sizes of volumes kept; undefined when it does not say. */
  readonly quota: string | undefined;
  /** The filesystem for what does not say which. */
  readonly defaultFilesystem: FilesystemName | undefined;
  /** The devices of a thin pool, absolute. */
  readonly pool:
    | { readonly metadata: string; readonly data: string; readonly blockBytes: number }
    | undefined;
  /** The directory in which the list of volumes is kept, absolute. */
  readonly state: string | undefined;
  readonly limits: PoolLimits;
  /** The most images that a volume may be made of; undefined when the config does not say. */
  readonly chain: number | undefined;
  /** Who shows disks of ploop; undefined when the config does not say. */
  readonly engine: EngineName | undefined;
  readonly lockTimeoutMs: number;
  /** Makes the error for a location of the wrong kind, at its place in the config. */
  readonly wrongLocation: (found: string, expected: string) => MosaicError;
}
