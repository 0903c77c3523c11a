import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../support/beds.ts";

// The mosaics that go through the power cuts, on the scratch disk of the virtual machine.

/** A mosaic on a filesystem of its own. */
export interface Ground {
  readonly name: string;
  readonly config: string;
  /** Whether volumes have sizes that can change, and can be disks. */
  readonly hasDevices: boolean;
}

const GROUNDS = [
  { name: "loop", filesystem: "xfs", hasDevices: true },
  { name: "btrfs", filesystem: "btrfs", hasDevices: false },
] as const;

/** Makes what is not there yet, and mounts all of it: a filesystem that the power cut caught replays its log. */
export function openGrounds(directory: string): Ground[] {
  return GROUNDS.map(({ name, filesystem, hasDevices }) => {
    const image = join(directory, `${name}.image`);
    const isNew = !existsSync(image);
    if (isNew) {
      run("truncate", "-s", "2G", `${image}.new`);
      run(`mkfs.${filesystem}`, "-q", `${image}.new`);
      run("sync", `${image}.new`);
      run("mv", `${image}.new`, image);
    }
    const location = join(directory, name);
    mkdirSync(location, { recursive: true });
    run("mount", "-o", "loop", image, location);
    const config = join(directory, `${name}.mos`);
    writeFileSync(config, `type: ${name}\nlocation: ./${name}\n`, { mode: 0o644 });
    return { name, config, hasDevices };
  });
}
