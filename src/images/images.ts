import type { Deferred } from "../location/deferred.ts";
import type { VolumeRecord } from "../location/record.ts";
import type { Store } from "../location/store.ts";
import type { LockedVolume } from "../location/volumes.ts";
import type { FileKey } from "../system/files.ts";
import type { LoopDevice } from "../system/loop.ts";
import type { BlockNode, LayeredNode } from "../system/storagedaemon.ts";

// A volume that is an image: a file whose content is reached as a raw file. A raw image is that file itself; one of
// another format is shown as such a file by a storage daemon. All beyond that is the same: the loop device of that file.

/** The content of an image as a raw file, at least until it is closed. */
export interface RawFile {
  readonly path: string;
  /** Open for writing unless it was asked for reading; -1 in a plan. */
  readonly fd: number;
  close(): void;
}

/** A volume that is open. */
export type OpenImage = Pick<LockedVolume, "fd" | "path" | "record">;

/** What an image takes, in bytes: with all that it shares, and what a drop would free. */
export interface ImageUse {
  readonly allocatedBytes: number;
  readonly exclusiveBytes: number;
}

/** An image, as a program opens it that reads the format itself. */
export interface ImageInfo {
  readonly format: string;
  /** The paths of the files that it is made of, its own first, then those below it. */
  readonly chain: readonly string[];
  /** What QEMU takes for --blockdev, with the whole chain; add a node-name. Of a chain of ploop, whose driver takes no `backing` there, only as the name of an image, after json:. Not while moctl has the volume attached or mounted. */
  readonly blockdev: Readonly<Record<string, unknown>>;
}

/** What images of one format can do. */
export interface Images {
  /** By which the loop device of an open volume is found. */
  keyOf(volume: Pick<OpenImage, "fd" | "record">): FileKey;
  /** By which the loop device of a volume is found, for a look at many of them; undefined when it is gone. */
  keyAt(record: VolumeRecord): FileKey | undefined;
  /** Whether the image file itself is the raw file. */
  readonly isRaw: boolean;
  /** What a volume takes of the location. Throws DAMAGED. */
  measure(volume: OpenImage): Promise<ImageUse>;
  /** The image as others open it. Throws DAMAGED. */
  describe(volume: OpenImage): ImageInfo;
  /** The size that its users see, in bytes. Throws DAMAGED. */
  sizeOf(volume: OpenImage): number;
  /** The image as a storage daemon opens it; absent where there is no way to show it at a socket. Throws DAMAGED. */
  node?(volume: OpenImage, readOnly: boolean): BlockNode | Promise<LayeredNode>;
  /** Opens the content. Throws BUSY, DAMAGED. */
  open(volume: LockedVolume, readOnly: boolean): Promise<RawFile>;
  /** Ends what `open` began, after the last device is gone; absent where that is nothing. */
  release?(volume: Pick<OpenImage, "record">): Promise<void>;
  /** Makes a copy of the content, without a device of it, as an image of its own. */
  copy(volume: LockedVolume, path: string, lockFd: number): Promise<void>;
  /** How an image gets another size; absent where that is to give the raw file another size. */
  readonly sizing?: ImageSizing;
  /** Runs an action with the content of an image that only this process works on. */
  whileOpen<T>(
    path: string,
    id: string,
    readOnly: boolean,
    action: (rawPath: string) => Promise<T>,
  ): Promise<T>;
}

/** How an image gets another size whose raw file cannot be given one. */
export interface ImageSizing {
  /** Makes an image larger, and what its device shows, which is to be told after that; `undo` takes it back. Throws BUSY. */
  grow(volume: OpenImage, sizeBytes: number, device: LoopDevice | undefined, undo: Deferred): Promise<void>;
  /** Makes an image of kind fs smaller that nobody knows yet. */
  cut(path: string, sizeBytes: number, lockFd: number): Promise<void>;
}

/** A store of volumes that are images. */
export interface ImageStore extends Store {
  readonly images: Images;
}
