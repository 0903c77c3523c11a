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
  /** The tools for it. */
  readonly tools: readonly Tool[];
  /** Makes an empty filesystem in a new, blank image file; a child keeps `lockFd`. */
  make(steps: Steps, path: string, lockFd: number): Promise<void>;
  /** Gives the filesystem in an image file, of which there is no device, a new random UUID. */
  renewUuid(steps: Steps, path: string, lockFd: number): Promise<void>;
}
