import {
  type KernelFeature,
  listExportFeatures,
  listLoopFeatures,
  listThinFeatures,
} from "../system/kernel.ts";
import type { Tool } from "../system/runner.ts";
import type { Backend, BackendContext } from "./backend.ts";
import { openBtrfs } from "./btrfs/btrfs.ts";
import { openDmthin } from "./dmthin/dmthin.ts";
import { openLoop } from "./loop/loop.ts";
import { openPlain } from "./plain/plain.ts";
import { openPloop } from "./ploop/ploop.ts";
import { openQcow2 } from "./qcow2/qcow2.ts";

/** What people read of a backend: in short, what a volume is, and for each feature whether it is there. */
export interface BackendWords {
  readonly volume: string;
  readonly kinds: string;
  readonly clone: string;
  readonly device: string;
  readonly size: string;
}

/** A key of a config that only some backends have. */
export type BackendKey = "chain" | "default_fs" | "engine" | "layout" | "quota" | "pool" | "state" | "limits";

/** One storage technology: the only place that names a backend. */
export interface BackendRow {
  readonly summary: string;
  /** What the table of backends in README.md says of it. */
  readonly words: BackendWords;
  /** Other words for the type in configs. */
  readonly aliases: readonly string[];
  /** The keys of its config that not every backend has. */
  readonly keys: readonly BackendKey[];
  /** Whether the location is a device and not a directory. */
  readonly locationIsDevice?: true;
  /** What its config may say for `quota`: how the sizes of volumes are kept. */
  readonly quotas: readonly string[];
  /** The tools for it, beside those of the filesystem inside. */
  readonly tools: readonly Tool[];
  /** What it needs of the kernel, beside what every backend does. */
  readonly kernelFeatures?: () => KernelFeature[];
  readonly open: (context: BackendContext) => Backend;
}

/** The backends by the name that configs and records use. */
export const BACKENDS = {
  plain: {
    summary: "directories",
    words: {
      volume: "a directory",
      kinds: "fs",
      clone: "no",
      device: "no",
      size: "with project quotas of ext4 or XFS",
    },
    aliases: ["dir"],
    keys: ["layout", "quota"],
    quotas: ["project"],
    tools: ["du"],
    open: openPlain,
  },
  loop: {
    summary: "sparse image files on loop devices",
    words: {
      volume: "a sparse image file, with ext4, xfs or btrfs inside",
      kinds: "fs, disk",
      clone: "on XFS with reflink, on btrfs",
      device: "yes",
      size: "yes",
    },
    aliases: ["fsimg"],
    keys: ["default_fs", "layout"],
    quotas: [],
    tools: ["blkid", "cp", "find", "flock", "fsfreeze", "true"],
    kernelFeatures: listLoopFeatures,
    open: openLoop,
  },
  qcow2: {
    summary: "qcow2 images, shown as block devices by qemu-storage-daemon",
    words: {
      volume: "a qcow2 image file, with ext4, xfs or btrfs inside",
      kinds: "fs, disk",
      clone: "yes, on any filesystem",
      device: "yes",
      size: "yes",
    },
    aliases: [],
    keys: ["default_fs", "layout", "chain"],
    quotas: [],
    tools: ["blkid", "cp", "find", "flock", "fsfreeze", "qemu-img", "qemu-storage-daemon", "true"],
    kernelFeatures: listExportFeatures,
    open: openQcow2,
  },
  ploop: {
    summary: "disks of OpenVZ's ploop, shown as block devices by qemu-storage-daemon",
    words: {
      volume: "a directory with `DiskDescriptor.xml` and ploop images, with ext4, xfs or btrfs inside",
      kinds: "fs, disk",
      clone: "on XFS with reflink, on btrfs",
      device: "yes",
      size: "yes",
    },
    aliases: [],
    keys: ["default_fs", "layout", "engine"],
    quotas: [],
    tools: ["blkid", "cp", "find", "flock", "fsfreeze", "qemu-img", "qemu-storage-daemon", "true"],
    kernelFeatures: listExportFeatures,
    open: openPloop,
  },
  btrfs: {
    summary: "btrfs subvolumes",
    words: {
      volume: "a subvolume",
      kinds: "fs",
      clone: "yes, a snapshot",
      device: "no",
      size: "with quotas of btrfs",
    },
    aliases: [],
    keys: ["layout", "quota"],
    quotas: ["simple", "qgroup"],
    tools: ["btrfs", "find"],
    open: openBtrfs,
  },
  dmthin: {
    summary: "devices of a thin pool of device-mapper",
    words: {
      volume: "a thin device, with ext4, xfs or btrfs inside",
      kinds: "fs, disk",
      clone: "yes, a snapshot",
      device: "yes",
      size: "yes",
    },
    aliases: ["thin"],
    keys: ["default_fs", "pool", "state", "limits"],
    locationIsDevice: true,
    quotas: [],
    tools: ["blkid", "cp", "dmsetup", "find", "flock", "thin_check", "thin_ls", "true"],
    kernelFeatures: listThinFeatures,
    open: openDmthin,
  },
} as const satisfies Record<string, BackendRow>;

/** The name of a backend. */
export type BackendName = keyof typeof BACKENDS;

/** All words for a type in a config, each with the backend it means. */
export function listTypeWords(): Map<string, BackendName> {
  const names = Object.keys(BACKENDS) as BackendName[];
  return new Map(
    names.flatMap((name) => [name, ...BACKENDS[name].aliases].map((word) => [word, name] as const)),
  );
}
