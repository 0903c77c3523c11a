import { statSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, type Bed, type BedRow, enableQuota, run } from "./beds.ts";

// What the tools of the filesystems say of quotas, beside which mosaic's own look at the kernel is held.

const ON_AN_OLDER_KERNEL: BedRow = {
  name: "btrfs with qgroups, on an older kernel",
  backend: "btrfs",
  filesystem: "btrfs",
  quota: "qgroup",
  tier: "guest",
};

/** The beds of directories and subvolumes whose sizes are kept. */
export const QUOTA_ROWS: readonly BedRow[] = [
  ...ALL_BEDS.filter((row) => row.quota !== undefined),
  ON_AN_OLDER_KERNEL,
];

/** What a tool says of a volume's quota, in bytes; undefined when it belongs to none. */
export interface ToldQuota {
  readonly limitBytes: number | null;
  readonly usedBytes: number;
}

/** What a tool says of the quota of what lies in a bed under a name. */
export function askTool(bed: Bed, name: string): ToldQuota | undefined {
  const path = join(bed.location, name);
  if (bed.row.backend === "btrfs")
    return listQgroups(bed.location).get(run("btrfs", "inspect-internal", "rootid", path).trim());
  return listProjects(bed.location).get(projectOf(path));
}

/** Changes a limit behind mosaic's back. */
export function limitByTool(bed: Bed, name: string, limitBytes: number | null): void {
  const path = join(bed.location, name);
  if (bed.row.backend === "btrfs") {
    const group = `0/${run("btrfs", "inspect-internal", "rootid", path).trim()}`;
    run("btrfs", "qgroup", "limit", String(limitBytes ?? "none"), group, bed.location);
  }
  if (bed.row.backend === "plain")
    run("setquota", "-P", projectOf(path), "0", String((limitBytes ?? 0) / 1024), "0", "0", bed.location);
}

/** Switches the quotas of a bed off and on; limits of btrfs are lost by that. */
export function switchQuota(bed: Bed, isOn: boolean): void {
  const { quota, mount = [] } = bed.row;
  if (quota === "qgroup" || quota === "simple") {
    if (isOn) enableQuota(bed.location, quota);
    else run("btrfs", "quota", "disable", bed.location);
    return;
  }
  run("umount", bed.location);
  run("mount", "-o", ["loop", ...(isOn ? mount : [])].join(), bed.image, bed.location);
}

/** The qgroups of subvolumes, by the numbers of those: btrfs-qgroup(8). */
export function listQgroups(location: string): Map<string, ToldQuota> {
  const lines = run("btrfs", "qgroup", "show", "--sync", "--raw", "-r", location).split("\n");
  const rows = lines.map((line) => /^0\/(\d+)\s+(\d+)\s+\d+\s+(\d+|none)/.exec(line)).filter((row) => row);
  return new Map(rows.map((row) => [row?.[1] ?? "", toQuota(row?.[3] ?? "", Number(row?.[2]))]));
}

/** The projects that use something or have a limit, by their numbers: repquota(8). */
export function listProjects(location: string): Map<string, ToldQuota> {
  const lines = run("repquota", "-P", "-n", "-v", location).split("\n");
  const rows = lines.map((line) => /^#(\d+)\s+\S+\s+(\d+)\s+\d+\s+(\d+)\s/.exec(line)).filter((row) => row);
  const known = rows.map(
    (row) => [row?.[1] ?? "", toQuota(row?.[3] === "0" ? "none" : row?.[3], Number(row?.[2]), 1024)] as const,
  );
  return new Map(known.filter(([number]) => number !== "0"));
}

/** The number of the project of a directory: lsattr(1). */
export function projectOf(path: string): string {
  return /^\s*(\d+)/.exec(run("lsattr", "-p", "-d", path))?.[1] ?? "";
}

/** How writing a file ended. */
export interface Written {
  readonly bytes: number;
  /** What dd said; empty when all could be written. */
  readonly words: string;
}

/** Writes a new file, at most this large, as root without the right to pass the limits of ext4: capabilities(7). */
export function writeFile(path: string, maxBytes: number): Written {
  const child = Bun.spawnSync(
    [
      ...["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"],
      ...[
        "dd",
        "if=/dev/zero",
        `of=${path}`,
        "bs=64K",
        `count=${maxBytes}`,
        "iflag=count_bytes",
        "status=none",
      ],
    ],
    { env: { ...process.env, LC_ALL: "C" }, timeout: 60_000 },
  );
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  return { bytes, words: child.stderr.toString() };
}

function toQuota(limit = "none", used = 0, unit = 1): ToldQuota {
  return { limitBytes: limit === "none" ? null : Number(limit) * unit, usedBytes: used * unit };
}
