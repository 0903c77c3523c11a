import { chmodSync, closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import { formatRecord, RECORD_ATTRIBUTE } from "../../src/location/record.ts";
import { ioctl, setAttribute } from "../../src/system/libc.ts";
import { type Run, runProgram, type Side } from "./measure.ts";

/** The built program. */
export const MOCTL = join(import.meta.dir, "../../dist/moctl");

const IMAGE_BYTES = 8 * 1024 ** 3;
const FILESYSTEMS = { plain: "ext4", loop: "xfs", qcow2: "xfs", ploop: "xfs", btrfs: "btrfs" } as const;

/** The backends that are measured. */
export type BackendName = keyof typeof FILESYSTEMS;

/** A mosaic on a filesystem of its own, in a directory with `bed.mos`, `location` and a mount point `mnt`. */
export interface Bed {
  readonly backend: BackendName;
  readonly directory: string;
}

/** The directory of a run, in which all beds lie. */
export class Ground {
  private readonly beds = new Map<string, Bed>();
  private emptyProgram: string | undefined;

  constructor(readonly directory: string) {}

  /** A mosaic of a backend with so many empty volumes; the same each time. */
  openBed(backend: BackendName, volumes = 0): Bed {
    const name = `${backend}-${volumes}`;
    const known = this.beds.get(name);
    if (known) return known;
    const bed = { backend, directory: join(this.directory, name) };
    makeFilesystem(bed);
    for (let number = 0; number < volumes; number++) makeVolume(bed, `v${String(number).padStart(5, "0")}`);
    runProgram({ argv: ["sync", "-f", join(bed.directory, "location")] });
    this.beds.set(name, bed);
    return bed;
  }

  /** A program that does nothing, built as moctl is. */
  buildEmptyProgram(): string {
    if (this.emptyProgram) return this.emptyProgram;
    const source = join(this.directory, "empty.ts");
    writeFileSync(source, "export {};\n");
    this.emptyProgram = join(this.directory, "empty");
    const build = join(import.meta.dir, "../build");
    runProgram({ argv: [build, "program", source, this.emptyProgram] });
    return this.emptyProgram;
  }
}

function makeFilesystem({ backend, directory }: Bed): void {
  const location = join(directory, "location");
  const image = join(directory, "image");
  for (const path of [directory, location, join(directory, "mnt")]) mkdirSync(path);
  runProgram({ argv: ["truncate", "-s", String(IMAGE_BYTES), image] });
  runProgram({ argv: [`mkfs.${FILESYSTEMS[backend]}`, "-q", image] });
  runProgram({ argv: ["mount", "-o", "loop", image, location] });
  chmodSync(location, 0o755);
  writeFileSync(join(directory, "bed.mos"), `type: ${backend}\nlocation: ./location\n`);
}

/** Makes a volume as moctl would leave it, without what makes it durable: thousands are wanted. */
function makeVolume({ backend, directory }: Bed, name: string): void {
  const location = join(directory, "location");
  if (backend === "btrfs") makeSubvolume(location, name);
  else mkdirSync(join(location, name));
  const fd = openSync(join(location, name), "r");
  const record = {
    id: crypto.randomUUID(),
    name: parseVolumeName(name),
    storedName: parseStoredName(name),
    backend,
    kind: "fs",
    filesystem: null,
    sizeBytes: null,
    parentId: null,
    createdAt: new Date().toISOString(),
    labels: {},
  } as const;
  setAttribute(fd, RECORD_ATTRIBUTE, formatRecord(record), true);
  closeSync(fd);
}

function makeSubvolume(location: string, name: string): void {
  const BTRFS_IOC_SUBVOL_CREATE = 0x5000940e;
  const fd = openSync(location, "r");
  const argument = Buffer.alloc(4096);
  argument.write(name, 8);
  ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, argument, name);
  closeSync(fd);
}

/** A run of moctl on a bed. */
export function moctlRun(bed: Bed, ...words: string[]): Run {
  return { argv: [MOCTL, "./bed.mos", ...words], cwd: bed.directory };
}

/** A shell script in the directory of a bed, which finds moctl and has a name in $N. */
export function scriptRun({ directory }: Pick<Bed, "directory">, script: string, name = ""): Run {
  const path = `${join(MOCTL, "..")}:${process.env.PATH}`;
  return {
    argv: ["/bin/sh", "-euc", script],
    cwd: directory,
    environment: { PATH: path, N: name },
  };
}

/** A script for each round, with a name of its own, between two others that are not measured. */
export function scriptSide(bed: Bed, prefix: string, run: string, before = "", after = ""): Side {
  return (round) => {
    const name = `${prefix}${round}`;
    return {
      ...scriptRun(bed, run, name),
      before: () => before && runProgram(scriptRun(bed, before, name)),
      after: () => after && runProgram(scriptRun(bed, after, name)),
    };
  };
}
