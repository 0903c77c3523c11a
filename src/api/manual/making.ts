import type { Use } from "../manual.ts";

/** The record in the examples of answers. */
const RECORD = {
  id: "5679ca1b-7670-41a3-b950-8a970aa01577",
  name: "web",
  storedName: "web",
  backend: "loop",
  kind: "fs",
  filesystem: "ext4",
  sizeBytes: 536870912,
  parentId: null,
  createdAt: "2026-11-27T12:00:00.000Z",
  labels: {},
};

/** The manual of create. */
export const CREATE: Use = {
  text: [
    "Makes an empty volume. fs: ready to mount; disk: a bare device. Types plain and btrfs hold only fs.",
    "SIZE is a whole number of bytes, or with K, M, G or T of powers of 1024. It is needed for type loop. Where the size of a volume is not limited it may be left out; given, it is recorded, and a line on standard error says so:",
    ["note: btrfs does not limit the size of volumes: 1G is recorded, not enforced"],
    "An image file is sparse: it takes space as it is written. A new volume belongs to root; the mode is 600 for an image file, 700 for a directory.",
  ],
  prints: ["nothing"],
  answer: RECORD,
  json: ['The record of the volume, see RECORDS; with "notes", a list of texts, when there is one.'],
  errors: {
    ALREADY_EXISTS: "a volume, or a foreign object, has that name or is in the way above.",
    INVALID_ARGUMENT: "no size, or one that cannot be.",
    UNSUPPORTED: "the type has not this kind; or a btrfs subvolume is in the way above.",
    NO_SPACE: "the filesystem of the location is full.",
    UNAVAILABLE: "a tool is missing, and its package is named.",
    TOOL_FAILED: "the tool that makes the filesystem failed, and what it said.",
  },
};

/** The manual of clone. */
export const CLONE: Use = {
  text: [
    "Makes a writable copy that shares the data of OLD until one of them is written. OLD may be mounted and in use: the clone is then what a power cut at that moment would leave.",
    "For type loop the filesystem in a mounted OLD is frozen for a moment (20 seconds at the most), the image is copied by reflink, and the copy gets a filesystem UUID of its own, so that both can be mounted side by side. When OLD is attached, what the kernel holds for the device is written first; what a virtual machine has not yet written is not in the clone.",
    "For type btrfs it is a snapshot.",
    "A clone is a volume of its own: it can be cloned, and OLD can be dropped.",
  ],
  prints: ["nothing"],
  json: ["the record of the clone"],
  errors: {
    UNSUPPORTED:
      "the type, or the filesystem of the location, cannot share data; or OLD has btrfs subvolumes inside, which a snapshot would leave out, and they are named.",
    NOT_FOUND: "no OLD.",
    ALREADY_EXISTS: "NEW is there.",
    NO_SPACE: "the filesystem of the location is full.",
    BUSY: "the filesystem is frozen by somebody else, or thawed before the copy was complete: try again.",
    DAMAGED: "OLD does not hold the filesystem that its record says.",
  },
};

/** The manual of drop. */
export const DROP: Use = {
  text: [
    "Destroys a volume and all its data. Volumes cloned from it are not affected. Nested btrfs subvolumes go with it, and a read-only subvolume is made writable first. It works on a full filesystem.",
  ],
  prints: ["nothing"],
  answer: { volume: "web" },
  errors: {
    NOT_FOUND: "no such volume.",
    BUSY: "it is mounted, attached or open, in whatever mount namespace; by whom is said. Nothing has changed.",
  },
  examples: [
    [
      "$ moctl ./vm.mos drop web",
      'moctl: Cannot drop "web": it is attached as /dev/loop0; open in process 10797 (sleep): "/dev/loop0"',
    ],
  ],
  notes: [
    "Another error with details.dropped true: the volume is gone, but not all of it could be removed. The next command that changes something tries again.",
    'When the check after the rename finds that somebody began to use the volume meanwhile, it gets its name back. Where that is taken by then it is kept in the location as NAME.kept-ID, with "." for each "/" in the name. That is a foreign object, which adopt makes a volume again.',
  ],
};

/** The manual of resize. */
export const RESIZE: Use = {
  text: [
    "Gives a volume another size. It becomes smaller only with --shrink, and never below what is used in it. What a killed run began is completed by the same command.",
    "A volume of type loop grows while it is mounted or attached, with the filesystem in it; one of kind fs that is attached and open in a program, but not mounted, does not. It becomes smaller only while nobody uses it, only with ext4 or btrfs inside, and as a copy that takes its place in one step: this needs room for the data that it holds, where the location cannot share blocks. ext4 in use grows only with CAP_SYS_RESOURCE, which root has outside of containers; ext4 not in use is grown as a copy without it.",
    "For types plain and btrfs a size is a quota, which is changed while the volume is in use: see SIZES OF DIRECTORIES AND SUBVOLUMES in config.txt.",
  ],
  prints: ["nothing"],
  json: ["the record of the volume, with the new size"],
  errors: {
    NOT_FOUND: "no such volume.",
    INVALID_ARGUMENT: "the size cannot be, or it is smaller and --shrink is missing.",
    BUSY: "it is to become smaller and is in use, and by whom is said; or it is in use read-only or frozen; or a program has its device open.",
    UNSUPPORTED:
      "the sizes of volumes are not kept here (info then has no volsize); or this volume cannot become smaller.",
    PERMISSION_DENIED: "the kernel refuses to grow an ext4 in use: unmount and detach it first.",
    UNAVAILABLE: "the config asks for sizes to be kept, which this host cannot now, and why.",
    NO_SPACE:
      "the filesystem of the location is full, or has no room for the copy of a volume that becomes smaller.",
    TOOL_FAILED:
      "less than what is used in the volume was asked; the smallest size is said, and nothing has changed.",
  },
};
