import type { Use } from "../manual.ts";

/** The manual of info: of a mosaic, and of a volume. */
export const INFO: readonly [Use, Use] = [
  {
    takes: [],
    summary: "tell what the mosaic can do",
    text: [
      "Tells what the mosaic can do: its features, its limits, the space of its location, and what of the host is used. Scripts read the first line; the others are for people and may change.",
    ],
    prints: [
      ["features: clone bdev volsize"],
      "those of clone, bdev, volsize and migrate that the mosaic has, in this order: clone works; attach works (bdev); the sizes of volumes are kept and resize works (volsize); migrate does not exist now. Then come the lines",
      [
        "type: loop",
        "location: /srv/images",
        "kinds: fs disk",
        "sizes: needed, multiples of 4096, at most 4096T (4503599627366400)",
        "filesystems: ext4 from 8M, xfs from 300M, btrfs from 128M",
        "names: at most 255 bytes, 8 groups of 128, each ^[A-Za-z0-9][A-Za-z0-9._-]*$",
        "space: 960M (1006632960) xfs, 39.0M (40865792) used, 921.0M (965767168) available",
        "kernel: 6.18.44 with fsopen move_mount openat2 mount_setattr loop diskseq ext4",
        "tools: util-linux 2.38.1, e2fsprogs 1.47.0, findutils 4.9.0",
      ],
    ],
    answer: {
      name: "vm",
      type: "loop",
      location: "/srv/images",
      config: "/srv/vm.mos",
      features: ["clone", "bdev", "volsize"],
      limits: {
        kinds: ["fs", "disk"],
        sizesAreKept: true,
        sizeIsRequired: true,
        sizeMinBytes: 4096,
        sizeMaxBytes: 4503599627366400,
        sizeStepBytes: 4096,
        filesystems: { ext4: 8388608, xfs: 314572800, btrfs: 134217728 },
        names: {
          maxBytes: 255,
          groupMaxBytes: 128,
          maxGroups: 8,
          groupPattern: "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        },
      },
      space: { filesystem: "xfs", sizeBytes: 1006632960, usedBytes: 40865792, availableBytes: 965767168 },
      pool: null,
      host: {
        kernel: {
          release: "6.18.44",
          features: [{ name: "openat2", since: "5.6", isRequired: true, isThere: true }],
        },
        packages: [{ name: "findutils", version: "4.9.0", tools: ["find"], missing: [] }],
      },
    },
    json: ["filesystems has the smallest volume for each that can be inside, in bytes."],
    errors: {},
  },
  {
    takes: ["volume"],
    summary: "tell all about a volume",
    text: [
      "Tells all about a volume: its record, its sizes, its clones and who holds it. It takes no lock. A size is shown as `list` shows it, with the bytes behind it.",
    ],
    prints: [
      "one line for each:",
      [
        "name: web",
        "kind: fs",
        "filesystem: ext4",
        "parent: -",
        "clones: web-2",
        "asked: 64M (67108864)",
        "virtual: 64M (67108864)",
        "allocated: 384K (393216)",
        "exclusive: 88K (90112)",
        "shared: 296K (303104)",
        "inside: 58.6M (61456384), 24K (24576) used",
        "attached: -",
        "mounted: /srv/web",
        'holders: mounted at "/srv/web" (pid 3088, mnt:[4026532232])',
        "labels: -",
        "id: 5679ca1b-7670-41a3-b950-8a970aa01577",
        "created: 2026-11-27T12:00:00.000Z",
        "stored: web",
      ],
      "asked is the size asked for; virtual what its users see as its size, - when nothing limits it; allocated what it takes of the location, shared data included; exclusive what a drop would free, - when it cannot be told; shared the rest, which others have too; inside the size of the filesystem in it and what is used of that, - for a disk, for a directory, and where it cannot be told; stored where it lies below the location; image its format and the files that it is made of, its own first.",
      "With --json, image.blockdev is what a QEMU that opens the image itself takes for --blockdev, with the whole chain: add a node-name. It must not open it while the volume is attached or mounted here; while it has it open, moctl says BUSY.",
    ],
    answer: {
      id: "5679ca1b-7670-41a3-b950-8a970aa01577",
      name: "web",
      storedName: "web",
      backend: "loop",
      kind: "fs",
      filesystem: "ext4",
      sizeBytes: 67108864,
      parentId: null,
      createdAt: "2026-11-27T12:00:00.000Z",
      labels: {},
      parent: null,
      attachedAs: null,
      mountedAt: [],
      clones: ["web-2"],
      virtualBytes: 67108864,
      allocatedBytes: 393216,
      exclusiveBytes: 90112,
      inside: null,
      holders: [],
      image: {
        format: "raw",
        chain: ["/srv/images/web"],
        blockdev: { driver: "raw", file: { driver: "file", filename: "/srv/images/web" } },
      },
    },
    errors: { NOT_FOUND: "no such volume." },
  },
];

/** The manual of have. */
export const HAVE: Use = {
  text: ["Tells whether there is a volume of this name. The exit status is 0 when there is none, too."],
  prints: [
    '"NAME exists: yes" or "NAME exists: no". When something foreign is in the name\'s place, a hint on standard error says how to make it a volume.',
  ],
  answer: {
    name: "old",
    exists: false,
    foreign: { why: "it has no record", adopt: "moctl /srv/vm.mos adopt fs old" },
  },
  json: [
    "foreign is null when nothing is there, or a volume; adopt is null when the object can be no volume as it is.",
  ],
  errors: { DAMAGED: "there is a record that contradicts the object." },
  examples: [
    [
      "$ moctl ./vm.mos have old",
      'hint: what lies at the place of "old" is foreign, it has no record; to make it a volume: moctl /srv/vm.mos adopt fs old',
      "old exists: no",
    ],
  ],
};

/** The manual of list. */
export const LIST: Use = {
  text: ["Lists the volumes. Use --json in scripts; the table is for people."],
  prints: [
    "a table, or nothing when there are no volumes:",
    [
      "NAME   KIND  FILESYSTEM  SIZE  PARENT  ATTACHED     MOUNTED",
      "vm1    disk  -           1G    -       /dev/loop13  -",
      "web    fs    ext4        512M  -       -            /srv/web",
      "web-2  fs    ext4        512M  web     -            /srv/web-2",
    ],
    "FILESYSTEM is the one inside a volume that is an image or a device. SIZE is the size asked for, with one decimal where it is not a whole number of its unit. PARENT is the volume it was cloned from, (dropped) when that is gone. ATTACHED is the device of an attached volume, or the URI of its socket. MOUNTED is where it is mounted, in all mount namespaces; control characters in a path are shown as \\x0a.",
  ],
  json: [
    '{"volumes":[...]}; each is its record and beside that "parent" (a name or null), "attachedAs" (a path, a URI or null) and "mountedAt" (a list of paths). `adopt --from` can restore records from it.',
  ],
  errors: {},
};

/** The manual of check. */
export const CHECK: Use = {
  text: [
    "Looks for what is wrong with the mosaic and its host: missing tools and parts of the kernel, left-overs of killed runs, records and objects that do not belong together, devices without a use, frozen filesystems. A mosaic whose location cannot be opened is checked too. Nothing is changed without --repair, which mends what can be mended without a loss.",
    "The exit status is 10 when a problem is left, else 0; notes are only worth knowing.",
    "The codes of findings:",
    [
      "location                the location cannot be opened; why is said",
      "tool-missing            a program is missing; the package is named",
      "kernel-feature-missing  the kernel lacks a part",
      "work-directory          .mosaic is not a private directory of root's",
      "leftover                a killed command left it (repaired, when nobody uses it)",
      "foreign                 a note: an object without a record; how to adopt it",
      "copy                    a note: an object with the record of another volume",
      "moved                   the same, and the other volume is not there; how to move it back",
      "unreadable-record       the record is damaged, or of a later version",
      "contradiction           the record says that the object is something else",
      "refused                 an image with several names, which cannot be a volume",
      "unlisted                a volume below a directory without a mark (repaired)",
      "needless-parent         a directory that mosaic made, with no volume in it (repaired)",
      "size-differs            record and image have two sizes: a resize was cut off (repaired)",
      "two-devices             one image has two loop devices, which destroys data",
      "dead-device             the image of a loop device was removed or replaced behind it",
      "                        (repaired when nobody uses it; what was in it is gone then)",
      "image                   the image cannot be read, or its tables contradict each other",
      "leaked-clusters         a note: a qcow2 or ploop image takes space that nothing uses (repaired)",
      "not-closed              a note: a ploop image was not closed after its last use (repaired)",
      "short-image             a ploop image lacks a part of its last block (repaired, with zeros)",
      "changed-blocks          a ploop image has a map of changed blocks: not used (repaired, without the map)",
      "descriptor              DiskDescriptor.xml and its ploop image have two sizes (repaired)",
      "unnamed-image           a note: an image of ploop that DiskDescriptor.xml does not name",
      "long-chain              a qcow2 volume lies over more images than the config allows (repaired)",
      "unused-base             a base of qcow2 images that none needs (repaired)",
      "dead-daemon             a storage daemon died in use (repaired, when nothing uses it any more)",
      "stopped-daemon          a storage daemon is stopped; how to let it go on",
      "stale-daemon            a storage daemon that nothing uses (repaired)",
      "stale-device            a loop device that is to go, and is still held",
      "frozen                  a filesystem is frozen; how to thaw it",
      "quota-off               the quotas that the config wants are off; how to switch them on",
      "quota-inconsistent      the quotas of btrfs must be counted again",
      "quota-differs           record and limit have two sizes (repaired)",
    ],
  ],
  prints: [
    "a line for each finding, and a last one with the numbers:",
    [
      "problem: leftover: /srv/images/.mosaic/5679...: a command that was killed left it; ...",
      "note: foreign: old: it is an image file without a record: foreign, ... (moctl ... adopt disk old)",
      "problems: 1, repaired: 0, notes: 1",
    ],
    "A line says problem, note or repaired, then the code of the finding and what it is about, what is the matter and, in brackets, the command that mends it.",
  ],
  answer: {
    problems: 0,
    findings: [
      {
        code: "foreign",
        severity: "note",
        subject: "old",
        message: "it is an image file without a record: foreign, not listed and never changed",
        advice: "moctl /srv/vm.mos adopt disk old",
        isRepairable: false,
        isRepaired: false,
        error: null,
      },
    ],
  },
  json: ["error says why a repair failed."],
  errors: { DAMAGED: "the exit status only, when a problem is left; there is no error." },
};
