import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../support/beds.ts";

// The mosaics that go through the power cuts, on the scratch disk of the virtual machine.

/** A mosaic on a filesystem or a pool of its own. */
export interface Ground {
  readonly name: string;
  readonly config: string;
  /** Whether volumes have sizes that can change, and can be disks. */
  readonly hasDevices: boolean;
  /** What goes on in it side by side: the first letters of the names of volumes. */
  readonly lanes: readonly string[];
}

/** Makes what is not there yet, and mounts all of it: a filesystem that the power cut caught replays its log. */
export function openGrounds(directory: string): Ground[] {
  run("modprobe", "fuse");
  return [
    { ...openFilesystem(directory, "loop", "xfs"), hasDevices: true, lanes: ["a"] },
    { ...openFilesystem(directory, "btrfs", "btrfs"), hasDevices: false, lanes: ["a"] },
    // A chain that is too long would be refused: nothing is made one image again while it works.
    { ...openFilesystem(directory, "qcow2", "xfs", ["chain: 64"]), hasDevices: true, lanes: ["a"] },
    { ...openFilesystem(directory, "ploop", "xfs"), hasDevices: true, lanes: ["a"] },
    // Its changes share the transactions of the pool.
    { ...openPool(directory, "dmthin"), hasDevices: true, lanes: ["a", "b"] },
  ];
}

function openFilesystem(directory: string, name: string, filesystem: string, lines: readonly string[] = []) {
  const image = makeImage(directory, name, "2G", (path) => run(`mkfs.${filesystem}`, "-q", path));
  const location = join(directory, name);
  mkdirSync(location, { recursive: true });
  run("mount", "-o", "loop", image, location);
  return { name, config: writeConfig(directory, name, [`location: ./${name}`, ...lines]) };
}

/** Its devices come back as they were, and moctl makes the pool active; the first time that takes a format, which it never does. */
function openPool(directory: string, name: string) {
  const state = join(directory, `${name}.state`);
  const isNew = !existsSync(state);
  const attach = (part: string, size: string) =>
    run(
      "losetup",
      "--find",
      "--show",
      makeImage(directory, `${name}.${part}`, size, () => {}),
    ).trim();
  const [metadata, data] = [attach("metadata", "16M"), attach("data", "2G")];
  run("modprobe", "dm-thin-pool");
  if (isNew) {
    const table = `0 ${Number(run("blockdev", "--getsz", data))} thin-pool ${metadata} ${data} 128 0`;
    run("env", "DM_DISABLE_UDEV=1", "dmsetup", "create", name, "--table", table);
    mkdirSync(state, { mode: 0o700 });
  }
  const lines = [
    `location: /dev/mapper/${name}`,
    `pool: {metadata: ${metadata}, data: ${data}, blockSize: 64K}`,
    `state: ${state}`,
  ];
  return { name, config: writeConfig(directory, name, lines) };
}

/** Makes an image whole or not at all. */
function makeImage(directory: string, name: string, size: string, format: (path: string) => void): string {
  const path = join(directory, `${name}.image`);
  if (existsSync(path)) return path;
  run("truncate", "-s", size, `${path}.new`);
  format(`${path}.new`);
  run("sync", `${path}.new`);
  run("mv", `${path}.new`, path);
  return path;
}

function writeConfig(directory: string, name: string, lines: readonly string[]): string {
  const path = join(directory, `${name}.mos`);
  writeFileSync(path, [`type: ${name}`, ...lines, ""].join("\n"), { mode: 0o644 });
  return path;
}
