import type { Use } from "../manual.ts";

/** The manual of attach. */
export const ATTACH: Use = {
  text: [
    "Makes a block device of a volume. It stays until detach, also over mounts and umounts. A volume that is mounted may be attached: then its device stays.",
  ],
  prints: ["Device: /dev/loop13"],
  answer: { volume: "web", device: "/dev/loop13" },
  errors: {
    UNSUPPORTED: "the type has no block devices (plain, btrfs).",
    NOT_FOUND: "no such volume.",
    BUSY: "it is attached already, and the device is named; or it is mounted read-only, so that its device is read-only: unmount it first.",
  },
};

/** The manual of detach. */
export const DETACH: Use = {
  text: ["Removes the block device."],
  prints: ["nothing"],
  answer: { volume: "web" },
  errors: {
    UNSUPPORTED: "the type has no block devices.",
    NOT_FOUND:
      "no such volume, or it is not attached. A device that is there only for a mount goes with the mount.",
    BUSY: "it is mounted or open, and by whom. A program that only looks at the device, such as udev's, is given a second to go on.",
  },
};
