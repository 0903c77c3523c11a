import type { Use } from "../manual.ts";

/** The manual of attach. */
export const ATTACH: Use = {
  text: [
    "Makes a block device of a volume. It stays until detach, also over mounts and umounts. A volume that is mounted may be attached: then its device stays. With -o ro the device is read-only.",
    "With --export nbd the volume is shown at a unix socket instead, by the NBD protocol, for a hypervisor or an agent: QEMU takes the URI that is printed in place of a file, with the format raw. Only root reaches the socket. Until detach nothing else of moctl uses the volume, but it can be cloned: the clone is what a power cut of the machine at that moment would leave. It works for the types loop and qcow2, and needs qemu-storage-daemon.",
  ],
  prints: [
    "Device: /dev/loop13",
    "and with --export nbd a URI:",
    [
      "Device: nbd+unix:///?socket=/run/mosaic/b7c2f1c0d4e5a697/export/5f0c2a9e-6d0b-4c57-9d6f-0f3f0c1f2a77/nbd",
    ],
  ],
  answer: { volume: "web", device: "/dev/loop13" },
  errors: {
    UNSUPPORTED:
      "the type has no block devices (plain, btrfs), or does not show volumes at a socket (dmthin).",
    NOT_FOUND: "no such volume.",
    BUSY: "it is attached already, and the device or URI is named; or it is mounted, and its device is not as it was asked, or not for a socket: unmount it first.",
  },
};

/** The manual of detach. */
export const DETACH: Use = {
  text: ["Removes the block device, or ends the socket."],
  prints: ["nothing"],
  answer: { volume: "web" },
  errors: {
    UNSUPPORTED: "the type has no block devices.",
    NOT_FOUND:
      "no such volume, or it is not attached. A device that is there only for a mount goes with the mount.",
    BUSY: "it is mounted or open, and by whom; or a client is connected to its socket. A program that only looks at the device, such as udev's, is given a second to go on.",
  },
};
