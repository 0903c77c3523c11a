import type { Use } from "../manual.ts";

/** The manual of adopt: for one object, and for a saved list. */
export const ADOPT: readonly [Use, Use] = [
  {
    takes: ["kind", "volume"],
    text: [
      "Gives a foreign object its record. What lies at a volume's place without a valid record is foreign: not listed, never changed. See FOREIGN OBJECTS.",
    ],
    prints: ["nothing"],
    json: ["the record"],
    errors: {
      NOT_FOUND: "nothing is there.",
      ALREADY_EXISTS: "it is a volume.",
      UNSUPPORTED:
        "it cannot be one. For type loop it must be a file with one hard link and a whole number of 512-byte sectors; as fs it must hold ext4, xfs or btrfs. For btrfs it must be a subvolume, for plain a directory; not one in which volumes lie.",
    },
  },
  {
    takes: ["list"],
    summary: "restore the records of a saved list",
    text: [
      "Restores the records in a saved answer of `list --json`, after a copy that lost them. An object that has its record is left as it is. One that fails does not stop the others, and the exit status is that of the first failure.",
    ],
    prints: ['"adopted: 1, unchanged: 1, failed: 0", and a line "failed: NAME: REASON" for each that failed'],
    answer: {
      adopted: ["app"],
      unchanged: ["g/x"],
      failed: [
        {
          name: "db",
          error: { code: "NOT_FOUND", message: "...", retryable: false, details: {} },
        },
      ],
    },
    errors: { INVALID_ARGUMENT: "the file is no such list; then nothing was done." },
  },
];
