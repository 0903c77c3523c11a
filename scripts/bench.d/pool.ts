import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { runProgram } from "./measure.ts";

const METADATA_BYTES = 64 * 1024 ** 2;
const DATA_BYTES = 6 * 1024 ** 3;
const BLOCK_SECTORS = 128;

/** A thin pool on two loop devices, in a directory with `bed.mos`, `state` and a mount point `mnt`. */
export interface Pool {
  readonly directory: string;
  /** The name of its mapped device. */
  readonly name: string;
}

/** Whether this kernel has thin pools. */
export function hasThinPools(): boolean {
  if (!Bun.which("dmsetup")) return false;
  Bun.spawnSync(["modprobe", "-q", "dm-thin-pool"]);
  return /^thin-pool\s/m.test(Bun.spawnSync(["dmsetup", "targets"], { stderr: "ignore" }).stdout.toString());
}

/** Makes a pool of a name below a directory. */
export function makePool(parent: string, name: string): Pool {
  const pool = { directory: join(parent, name), name: `${basename(parent)}-${name}` };
  for (const path of ["state/volumes", "mnt"]) mkdirSync(join(pool.directory, path), { recursive: true });
  const [metadata, data] = [
    makeDevice(pool, "metadata", METADATA_BYTES),
    makeDevice(pool, "data", DATA_BYTES),
  ];
  const table = `0 ${DATA_BYTES / 512} thin-pool ${metadata} ${data} ${BLOCK_SECTORS} 0`;
  dmsetup("create", pool.name, "--table", table);
  const config = `type: dmthin\nlocation: /dev/mapper/${pool.name}\nstate: ./state\n`;
  writeFileSync(join(pool.directory, "bed.mos"), config);
  return pool;
}

/** How much of a pool is mapped, in bytes. */
export function measureUsed({ name }: Pool): number {
  const used = dmsetup("status", name).split(" ")[5]?.split("/")[0];
  return Number(used) * BLOCK_SECTORS * 512;
}

/** Runs dmsetup, as moctl does; gives its output. */
export function dmsetup(...words: string[]): string {
  // Where no udev runs it makes the nodes only when it is told.
  const environment: Record<string, string> = existsSync("/run/udev/control") ? {} : { DM_DISABLE_UDEV: "1" };
  return runProgram({ argv: ["dmsetup", ...words], environment }).stdout;
}

function makeDevice({ directory }: Pool, name: string, bytes: number): string {
  const path = join(directory, name);
  runProgram({ argv: ["truncate", "-s", String(bytes), path] });
  return runProgram({ argv: ["losetup", "--find", "--show", path] }).stdout.trim();
}
