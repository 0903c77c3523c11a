import type * as zod from "zod/mini";
import type { EngineName } from "../backends/backend.ts";
import { BACKENDS, type BackendKey, type BackendRow, listTypeWords } from "../backends/registry.ts";
import { FILESYSTEM_NAMES, type FilesystemName } from "../filesystems/registry.ts";
import * as z from "./zod.ts";

// The one table of the keys of a config: the schema, and what config.txt says of them, are read off it.

/** What a config says, by the names of its keys. */
export interface ConfigFields {
  readonly type: string;
  readonly location: string;
  readonly default_fs?: FilesystemName | undefined;
  readonly layout?: { readonly fs: string } | undefined;
  readonly volumeMap?: string | undefined;
  readonly requireMount?: boolean | undefined;
  readonly quota?: string | undefined;
  readonly pool?:
    | { readonly metadata: string; readonly data: string; readonly blockSize: string }
    | undefined;
  readonly state?: string | undefined;
  readonly limits?:
    | { readonly data?: number; readonly metadata?: number; readonly overcommit?: number | "none" }
    | undefined;
  readonly chain?: number | undefined;
  readonly engine?: EngineName | undefined;
}

/** A key of a config. */
export interface ConfigKey {
  /** What its value is, in the words of the manual. */
  readonly value: string;
  /** What counts when it is absent; a key without this is needed. */
  readonly absent?: string;
  /** What it is for, in whole sentences. */
  readonly details: string;
  /** Whether only the backends have it whose row names it. */
  readonly isOwn?: true;
  /** Its values; without a backend those of any. */
  readonly schema: (backend: BackendRow | undefined) => zod.ZodMiniType;
}

/** The keys by their names, in the order in which messages and documents have them. */
export const CONFIG_KEYS: Readonly<Record<keyof ConfigFields, ConfigKey>> = {
  type: {
    value: "a word",
    details: `The storage technology. ${describeTypes()}`,
    schema: () => oneOf([...listTypeWords().keys()]),
  },
  location: {
    value: "a text",
    details:
      "The directory that holds the volumes. A relative one is taken from the directory of the config, not from the working directory. Symbolic links on the way are followed. See THE LOCATION.",
    schema: text,
  },
  default_fs: {
    value: "ext4, xfs or btrfs",
    isOwn: true,
    absent: "ext4 when absent",
    details:
      "The filesystem that `create fs` makes inside a new volume. A volume keeps the one that it was made with: its record says which. The smallest volume is 8M for ext4, 300M for xfs and 128M for btrfs.",
    schema: () => oneOf(FILESYSTEM_NAMES),
  },
  layout: {
    value: "a mapping with the key fs",
    isOwn: true,
    absent: "absent when the metadata is the location itself",
    details: "layout.fs is the directory of the metadata, below the location. See METADATA.",
    schema: () => z.strictObject({ fs: text() }),
  },
  volumeMap: {
    value: "one text of two words, REGEX REPLACEMENT",
    absent: "absent when every name is its own place",
    details: "The rule from the name that users say to the place of the volume. See VOLUME MAP.",
    schema: text,
  },
  requireMount: {
    value: "true or false",
    absent: "false when absent",
    details:
      'Refuse to work when nothing is mounted at the location or above it, other than "/". See A LOCATION THAT IS NOT MOUNTED.',
    schema: () => z.boolean(),
  },
  quota: {
    value: "a word, by type",
    isOwn: true,
    absent: "absent when sizes need not be kept",
    details:
      "How the sizes of volumes are kept, for types that do not keep them by themselves. project: by project quotas of ext4 or XFS. simple or qgroup: by simple quotas or quota groups of btrfs. Without it a size is recorded and not enforced.",
    schema: (backend) => (backend ? oneOf(backend.quotas) : text()),
  },
  pool: {
    value: "a mapping with the keys metadata, data and blockSize",
    isOwn: true,
    absent: "absent when somebody else activates the pool",
    details:
      "The devices of the thin pool and the size of its blocks, such as 64K: from these the first use after a reboot makes it active, when thin_check finds its metadata sound. They are never formatted. See THIN POOLS.",
    schema: () => z.strictObject({ metadata: text(), data: text(), blockSize: text() }),
  },
  state: {
    value: "a text",
    isOwn: true,
    absent: "a directory under /var/lib/mosaic with the name of the pool when absent",
    details:
      "The directory in which the list of the volumes is kept, on a filesystem that a power cut does not harm. It belongs to the pool: keep it, and back it up with it. See THIN POOLS.",
    schema: text,
  },
  limits: {
    value: "a mapping with the keys data, metadata and overcommit",
    isOwn: true,
    absent: "90, 75 and none when absent",
    details:
      "From how many percent of its data and of its metadata on a thin pool counts as full, so that nothing is made or grown in it; and how many percent of its size the sizes of all volumes may have together, or none.",
    schema: () =>
      z.strictObject({
        data: z.optional(percent(100)),
        metadata: z.optional(percent(100)),
        overcommit: z.optional(z.union([percent(1_000_000), z.enum(["none"])])),
      }),
  },
  chain: {
    value: "a whole number from 2 to 64",
    isOwn: true,
    absent: "8 when absent",
    details:
      "The most images that a volume of type qcow2 may be made of: its own, and those below it that it shares with its origin and clones. A clone that would make more is refused, and `check --repair` makes such a volume one image again. See QCOW2.",
    schema: () => z.int().check(z.minimum(2), z.maximum(64)),
  },
  engine: {
    value: "auto, kernel or qemu",
    isOwn: true,
    absent: "auto when absent",
    details:
      "What shows the disks of type ploop as block devices: the kernel of an OpenVZ host, by its program ploop, or a qemu-storage-daemon, on any kernel. auto takes the kernel where it is one of OpenVZ. See PLOOP.",
    schema: () => z.enum(["auto", "kernel", "qemu"]),
  },
};

/** The keys of the mapping at a path below the top. */
export function listKeysBelow([name]: readonly (string | number)[]): string[] {
  const schema = CONFIG_KEYS[name as keyof ConfigFields].schema(undefined);
  return Object.keys((schema as Partial<ReturnType<typeof z.strictObject>>).shape ?? {});
}

/** The schema of a config for a backend; for any when there is none. Built when a config is read: one at module level would cost every start. */
export function configSchema(backend: BackendRow | undefined) {
  const shape: Record<string, zod.ZodMiniType> = {};
  for (const [name, key] of Object.entries(CONFIG_KEYS)) {
    if (!hasKey(backend, name as keyof ConfigFields)) continue;
    const value = key.schema(backend);
    shape[name] = key.absent === undefined ? value : z.optional(value);
  }
  return z.strictObject(shape);
}

/** Whether configs of a backend have the key; without a backend whether any has. */
export function hasKey(backend: BackendRow | undefined, name: keyof ConfigFields): boolean {
  return !backend || !CONFIG_KEYS[name].isOwn || backend.keys.includes(name as BackendKey);
}

function text() {
  return z.string().check(z.minLength(1));
}

function percent(most: number) {
  return z.int().check(z.minimum(1), z.maximum(most));
}

function oneOf(words: readonly string[]) {
  return z.enum(words as [string, ...string[]]);
}

function describeTypes(): string {
  const rows: [string, BackendRow][] = Object.entries(BACKENDS);
  const types = rows.map(([name, { summary }]) => `${name}: ${summary}.`);
  const aliases = rows.flatMap(([name, row]) => row.aliases.map((alias) => `${alias} means ${name}`));
  return `${types.join(" ")} The words of the first mosaic are understood too: ${aliases.join(", ")}. Other words are errors.`;
}
