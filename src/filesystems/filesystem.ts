import type { Tool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";

/** The size of a filesystem and what is in use of it, in bytes. */
export interface FilesystemUse {
  readonly sizeBytes: number;
  readonly usedBytes: number;
}

/** A filesystem that mosaic makes inside block volumes. */
export interface Filesystem {
  /** The kernel's name of it. */
  readonly name: string;
  /** The smallest volume that it fits into, in bytes. */
  readonly minimumBytes: number;
  /** The smallest size that it can be given later, in bytes, where that is more. */
  readonly resizeMinimumBytes?: number;
  /** Where its UUID lies in its device: in the first superblock. */
  readonly uuidOffset: number;
  /** The tools for it. */
  readonly tools: readonly Tool[];
  /** Makes an empty filesystem in a new, blank image file; a child keeps `lockFd`. */
  make(steps: Steps, path: string, lockFd: number): Promise<void>;
  /** Grows the filesystem whose root is open as `rootFd` to its device of `sizeBytes`, as the kernel does it for one in use. Throws PERMISSION_DENIED. */
  grow(steps: Steps, rootFd: number, sizeBytes: number): Promise<void>;
  /**
   * Gives the filesystem in a copy of an image another size and reads back that it has no more; the copy is lost on a failure.
   * Absent where it cannot shrink. Throws TOOL_FAILED with the smallest size when less than what is used was asked.
   */
  resizeCopy?(steps: Steps, path: string, sizeBytes: number, lockFd: number): Promise<void>;
  /** Its size and what is used, read from an image that is not in use; undefined when its log must be replayed first. */
  readUse(steps: Steps, path: string): Promise<FilesystemUse | undefined>;
  /** How many bytes of its device it takes, whatever its log has. */
  readSize(steps: Steps, path: string): Promise<number>;
  /** Gives the filesystem in a device, or in an image file of which there is none, a new random UUID. */
  renewUuid(steps: Steps, path: string, lockFd: number): Promise<void>;
}
