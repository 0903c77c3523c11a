import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  ALL_BEDS,
  type BedRow,
  makeTestDirectory,
  needsSize,
  removeTestDirectory,
  run,
} from "../support/beds.ts";
import { makeRawDisk } from "../support/ploopdisk.ts";
import { succeed, succeedJson } from "./moctl.ts";

// Power loss right after an answer: a copy of the disk below the location, taken at that moment, has what was answered.
// The disk is a loop device with direct I/O, so what was not flushed is not in its file.

const MIB = 1024 ** 2;
const SIZES = { ext4: 128 * MIB, xfs: 320 * MIB, btrfs: 256 * MIB } as const;

interface Moment {
  readonly what: string;
  /** The names of the volumes that must be there, and no others. */
  readonly names: readonly string[];
  readonly disk: string;
}

for (const row of ALL_BEDS.filter(({ filesystem }) => filesystem !== "thin-pool")) {
  describe(row.name, () => {
    let directory: string;
    afterAll(() => removeTestDirectory(directory));
    const moments: Moment[] = [];
    beforeAll(() => {
      directory = makeTestDirectory("durability");
      mountDisk(row, directory);
      live(row, directory, moments);
      run("umount", join(directory, "location"));
    });
    const rows = ["create", "create below", ...(row.filesystem === "ext4" ? [] : ["clone"]), "drop", "adopt"];
    for (const what of rows) {
      test(`${what} is durable when it answers`, () => {
        const moment = moments.find((candidate) => candidate.what === what);
        expect(moment).toBeDefined();
        if (moment) lookInto(row, directory, moment);
      });
    }
  });
}

function mountDisk(row: BedRow, directory: string): void {
  const [disk, location] = [join(directory, "disk"), join(directory, "location")];
  mkdirSync(location);
  run("truncate", "-s", String(SIZES[row.filesystem as keyof typeof SIZES]), disk);
  run(`mkfs.${row.filesystem}`, "-q", disk);
  const device = run("losetup", "--find", "--show", "--direct-io=on", disk).trim();
  run("mount", device, location);
  run("losetup", "-d", device);
  expect(run("losetup", "-n", "-O", "DIO,AUTOCLEAR", device).split(/\s+/).filter(Boolean)).toEqual([
    "1",
    "1",
  ]);
  chmodSync(location, 0o755);
  if (row.filesystem === "ext4") rmSync(join(location, "lost+found"), { recursive: true });
  run("sync", "-f", location);
}

function live(row: BedRow, directory: string, moments: Moment[]): void {
  const config = writeConfig(row, directory, "location");
  const size = needsSize(row) ? ["16m"] : [];
  const names = new Set<string>();
  const keep = (what: string) => {
    const disk = join(directory, `disk-${what.replace(" ", "-")}`);
    run("cp", "--sparse=always", join(directory, "disk"), disk);
    moments.push({ what, names: [...names].sort(), disk });
  };
  succeed(config, "create", "fs", "web", ...size);
  names.add("web");
  keep("create");
  succeed(config, "create", "fs", "a/b/db", ...size);
  names.add("a/b/db");
  keep("create below");
  if (row.filesystem !== "ext4") {
    succeed(config, "clone", "web", "c/copy");
    names.add("c/copy");
    keep("clone");
  }
  succeed(config, "drop", "a/b/db");
  names.delete("a/b/db");
  keep("drop");
  makeForeign(row, join(directory, "location"));
  run("sync", "-f", join(directory, "location"));
  succeed(config, "adopt", "fs", "old");
  names.add("old");
  keep("adopt");
}

function writeConfig(row: BedRow, directory: string, location: string): string {
  const path = join(directory, `${location}.mos`);
  writeFileSync(path, `type: ${row.backend}\nlocation: ./${location}\n`, { mode: 0o644 });
  return path;
}

function makeForeign(row: BedRow, location: string): void {
  const path = join(location, "old");
  if (row.backend === "plain") mkdirSync(path);
  if (row.backend === "btrfs") run("btrfs", "-q", "subvolume", "create", path);
  if (!needsSize(row)) return;
  run("truncate", "-s", "16M", path);
  run("mkfs.ext4", "-q", path);
  if (row.backend !== "qcow2" && row.backend !== "ploop") return;
  run("mv", path, `${path}.raw`);
  if (row.backend === "ploop") makeRawDisk(path, `${path}.raw`);
  else run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", `${path}.raw`, path);
  run("rm", `${path}.raw`);
}

/** Mounts the copy of the disk as after a power loss; its filesystem replays its log, and the volumes are used. */
function lookInto(row: BedRow, directory: string, moment: Moment): void {
  const [copy, mountPoint] = [join(directory, "copy"), join(directory, "mnt")];
  for (const path of [copy, mountPoint]) mkdirSync(path, { recursive: true });
  run("mount", "-o", row.filesystem === "xfs" ? "loop,nouuid" : "loop", moment.disk, copy);
  try {
    const config = writeConfig(row, directory, "copy");
    const volumes = succeedJson(config, "list").volumes as { name: string; storedName: string }[];
    expect(volumes.map(({ name }) => name).sort()).toEqual([...moment.names]);
    for (const { name, storedName } of volumes) {
      if (row.backend === "loop") run("e2fsck", "-f", "-n", join(copy, storedName));
      if (row.backend === "qcow2") run("qemu-img", "check", "-q", "-f", "qcow2", join(copy, storedName));
      succeed(config, "mount", name, mountPoint);
      writeFileSync(join(mountPoint, "data"), "text");
      succeed(config, "umount", name, mountPoint);
    }
    succeed(config, "create", "fs", "next", ...(needsSize(row) ? ["16m"] : []));
  } finally {
    run("umount", copy);
  }
}
