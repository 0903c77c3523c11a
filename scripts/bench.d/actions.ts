import { type BackendName, type Bed, type Ground, scriptRun, scriptSide } from "./ground.ts";
import { measure, runProgram } from "./measure.ts";
import { compare, comparisonHeader, type Section } from "./table.ts";

const ROUNDS = 25;

/** The scripts for one action: of moctl, and of bare tools that leave the same on the disk, as durably. */
interface Pair {
  readonly moctl: string;
  readonly bare: string;
}

/** The actions of a backend; each script makes, takes or removes the volume $N, clones and mounts are of "base". */
interface Actions {
  readonly create: Pair;
  readonly clone?: Pair;
  readonly drop: Pair;
  readonly mount: Pair;
}

const MOUNT_DIRECTORY = "mount --bind location/base mnt\numount mnt";

const ACTIONS = {
  plain: {
    create: {
      moctl: "moctl ./bed.mos create fs $N",
      bare: "mkdir -m 700 location/$N\nsync location/$N location",
    },
    drop: { moctl: "moctl ./bed.mos drop $N", bare: "rm -r location/$N\nsync location" },
    mount: {
      moctl: "moctl ./bed.mos mount base mnt\nmoctl ./bed.mos umount base mnt",
      bare: MOUNT_DIRECTORY,
    },
  },
  loop: {
    create: {
      moctl: "moctl ./bed.mos create fs $N 512M",
      bare: "truncate -s 512M location/$N\nmkfs.ext4 -q -O metadata_csum,metadata_csum_seed location/$N\nsync location/$N location",
    },
    clone: {
      moctl: "moctl ./bed.mos clone base $N",
      bare: "cp --reflink=always location/base location/$N\ntune2fs -U random location/$N\nsync location/$N location",
    },
    drop: { moctl: "moctl ./bed.mos drop $N", bare: "rm location/$N\nsync location" },
    mount: {
      moctl: "moctl ./bed.mos mount base mnt\nmoctl ./bed.mos umount base mnt",
      bare: "mount -o loop location/base mnt\numount mnt",
    },
  },
  btrfs: {
    create: {
      moctl: "moctl ./bed.mos create fs $N",
      bare: "btrfs -q subvolume create location/$N\nbtrfs filesystem sync location",
    },
    clone: {
      moctl: "moctl ./bed.mos clone base $N",
      bare: "btrfs -q subvolume snapshot location/base location/$N\nbtrfs filesystem sync location",
    },
    drop: {
      moctl: "moctl ./bed.mos drop $N",
      bare: "btrfs -q subvolume delete --commit-after location/$N",
    },
    mount: {
      moctl: "moctl ./bed.mos mount base mnt\nmoctl ./bed.mos umount base mnt",
      bare: MOUNT_DIRECTORY,
    },
  },
} as const satisfies Partial<Record<BackendName, Actions>>;

const LIST: Pair = {
  moctl: "moctl ./bed.mos list",
  bare: "getfattr -h -n trusted.mosaic.volume location/v*",
};

/** What the actions of each backend take, beside scripts of the bare tools. */
export function measureActions(ground: Ground): Section {
  const backends = Object.keys(ACTIONS) as (keyof typeof ACTIONS)[];
  return {
    title: "Actions, beside the bare tools",
    header: comparisonHeader("backend and action", "moctl", "tools"),
    rows: [
      ...backends.flatMap((backend) => measureBackend(ground.openBed(backend), ACTIONS[backend])),
      compareScripts(ground.openBed("plain", 10_000), "list, 10,000 volumes", LIST),
    ],
    scripts: [
      ...backends.map((backend) => describeScripts(backend, ACTIONS[backend])),
      describePair("plain: list", LIST),
    ].join("\n\n"),
  };
}

function measureBackend(bed: Bed, { create, clone, drop, mount }: Actions): string[][] {
  runProgram(scriptRun(bed, create.moctl, "base"));
  const rows = [compareScripts(bed, "create", create, undefined, drop)];
  if (clone) rows.push(compareScripts(bed, "clone", clone, undefined, drop));
  rows.push(compareScripts(bed, "drop", drop, create));
  rows.push(compareScripts(bed, "mount and umount", mount));
  return rows;
}

function compareScripts(bed: Bed, what: string, pair: Pair, before?: Pair, after?: Pair): string[] {
  const { moctl, bare } = measure(ROUNDS, {
    moctl: scriptSide(bed, "m", pair.moctl, before?.moctl, after?.moctl),
    bare: scriptSide(bed, "b", pair.bare, before?.bare, after?.bare),
  });
  return compare(`${bed.backend}: ${what}`, moctl, bare);
}

function describeScripts(backend: BackendName, actions: Actions): string {
  return Object.entries<Pair>({ ...actions })
    .map(([what, pair]) => describePair(`${backend}: ${what}`, pair))
    .join("\n\n");
}

function describePair(what: string, { moctl, bare }: Pair): string {
  return `# ${what}\n${moctl}\n# tools\n${bare}`;
}
