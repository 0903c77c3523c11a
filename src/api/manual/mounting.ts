import type { Use } from "../manual.ts";

/** The manual of mount. */
export const MOUNT: Use = {
  text: [
    "Mounts a volume of kind fs, or with - the metadata, onto an existing directory that is no symbolic link. A volume may be mounted in several places. FLAGS is a comma list of ro and rw; rw when absent.",
    "ro makes the mount read-only. For type loop nothing at all is written then: the filesystem and the device are read-only too. So an ext4 volume that was not unmounted cleanly cannot be mounted read-only before it was mounted once writable, and the message says so. On the device of an attached volume, which is writable, the kernel replays the journal instead.",
    "A mount of a directory (types plain and btrfs, and the metadata) is a bind mount. What is mounted below that directory is not part of it. A device that a mount needs is made, and goes with the last mount.",
  ],
  prints: ["nothing"],
  answer: { volume: "web", mountPoint: "/srv/web", readOnly: false },
  errors: {
    NOT_FOUND: "no such volume, or no such directory.",
    INVALID_ARGUMENT:
      "the mount point is a symbolic link or no directory; the volume is a disk, which has no filesystem: attach it.",
    BUSY: "it is mounted there already; or a writable mount is asked while the filesystem is mounted read-only or its device is read-only: unmount that first.",
    DAMAGED: "the kernel finds no filesystem of the recorded kind in it.",
    UNAVAILABLE: "this kernel has no such filesystem.",
  },
  examples: [
    [
      "$ moctl ./vm.mos mount -o ro cut a",
      'moctl: Cannot mount "cut": the kernel did not mount /dev/loop2 as ext4 (EROFS): fsconfig "create": the filesystem is read-only (EROFS); its journal must be replayed: mount it once writable',
    ],
  ],
  notes: ["After an error nothing is mounted, and no device is left."],
};

/** The manual of umount. */
export const UMOUNT: Use = {
  text: [
    "Unmounts exactly that: when something else is on top at the mount point, it stays. Never lazily: when it is busy, the answer says who uses it.",
  ],
  prints: ["nothing"],
  answer: { volume: "web", mountPoint: "/srv/web" },
  errors: {
    NOT_FOUND: "no such volume, or it is not what is mounted there.",
    BUSY: "processes that are in it and mounts in it are named.",
  },
  examples: [
    [
      "$ moctl ./vm.mos umount web a",
      'moctl: Cannot unmount "web": "/srv/a" is busy: open in process 9416 (sleep): "/srv/a"',
    ],
  ],
};
