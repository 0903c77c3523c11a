/** Something that `check` has to say. */
export interface Finding {
  /** A word for programs, such as "leftover" or "foreign". */
  readonly code: string;
  /** Whether something is wrong, or only worth knowing. */
  readonly severity: "problem" | "note";
  /** What it is about: a stored name, a path or a tool. */
  readonly subject: string;
  /** What is the matter, in one sentence. */
  readonly message: string;
  /** A command that would mend it, or what else to do; absent when there is nothing to do. */
  readonly advice?: string;
  /** The stored name and kind of an object that could be adopted. */
  readonly adoptable?: { readonly storedName: string; readonly kind: "fs" | "disk" };
  /** Mends it. Throws MosaicError. Absent where only people can decide. */
  readonly repair?: () => Promise<void>;
}
