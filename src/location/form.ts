import type { BigIntStats } from "node:fs";
import type { Holder } from "../system/holders.ts";
import type { Steps } from "../system/steps.ts";
import type { Kind } from "./record.ts";

/** What a backend keeps in its location for one volume: a directory, an image file, a subvolume. */
export interface Form {
  /** The backend's name, as in records. */
  readonly backend: string;
  /** The form in words, such as "an image file". */
  readonly description: string;
  /** Whether the object with this status has the form. */
  matches(status: BigIntStats): boolean;
  /** The kind that an object would be as a volume, undefined when it can be none; fs when the member is absent. */
  kindOf?(steps: Steps, path: string): Promise<Kind | undefined>;
  /** Who holds the object at `path`, open as `fd`. */
  holders(path: string, fd: number): Promise<Holder[]>;
  /** Makes the object ready to be moved away; gives what takes that back. */
  release?(steps: Steps, path: string): Promise<() => Promise<void>>;
  /** Ends what killed runs left outside of the operations' directories. */
  sweep?(steps: Steps): Promise<void>;
  /** Destroys the object at `path`, which nobody else can reach any more; can be called again after a failure. */
  remove(steps: Steps, path: string, lockFd: number): Promise<void>;
  /** The same for what a killed run left, who knows when: the storage behind the object may be somebody else's by now. */
  removeLeft?(steps: Steps, path: string): Promise<void>;
}
