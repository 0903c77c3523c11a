import { afterAll, beforeAll, describe } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Feature } from "../../src/api/results.ts";
import type { BackendName } from "../../src/backends/registry.ts";
import { findMappedDevice, listMappedUsers } from "../../src/system/devicemapper.ts";
import { closeFd, openDirectory } from "../../src/system/files.ts";
import { ioctl } from "../../src/system/libc.ts";
import { listLoopDevices } from "../../src/system/loop.ts";
import { listProcesses, readOwnMounts } from "../../src/system/mounts.ts";

// A bed is a place to test one backend on: a real filesystem on a loop device, made for one test file.

/** One kind of bed. */
export interface BedRow {
  /**
   * Where the suite runs on it: on the host, or in the virtual machine of scripts/guest, whose kernel has more; what needs
   * device-mapper runs on a host that has it.
   */
  readonly tier?: "guest" | "device-mapper";
  readonly name: string;
  readonly backend: BackendName;
  /** The filesystem that the location is on; thin-pool when it is a pool, whose list of volumes is in the test directory. */
  readonly filesystem: "ext4" | "xfs" | "btrfs" | "thin-pool";
  /** Further arguments of mkfs. */
  readonly mkfs?: readonly string[];
  /** Further options of the mount. */
  readonly mount?: readonly string[];
  /** What the config says for quota; those of btrfs are switched on. */
  readonly quota?: "project" | "qgroup" | "simple";
}

/** A bed on which the conformance suite runs. */
export interface ConformanceBed extends BedRow {
  /** What `info` must show there, in its order: which rows of the suite run. */
  readonly features: readonly Feature[];
}

/** The beds of each backend: a registry row without one does not compile. */
export const BEDS = {
  plain: [
    { name: "plain on ext4", backend: "plain", filesystem: "ext4", features: [] },
    {
      name: "plain with project quotas on ext4",
      backend: "plain",
      filesystem: "ext4",
      mkfs: ["-O", "quota,project", "-E", "quotatype=prjquota"],
      mount: ["prjquota"],
      quota: "project",
      features: ["volsize"],
      tier: "guest",
    },
    {
      name: "plain with project quotas on xfs",
      backend: "plain",
      filesystem: "xfs",
      mount: ["prjquota"],
      quota: "project",
      features: ["volsize"],
      tier: "guest",
    },
  ],
  loop: [
    { name: "loop on ext4", backend: "loop", filesystem: "ext4", features: ["bdev", "volsize"] },
    { name: "loop on xfs", backend: "loop", filesystem: "xfs", features: ["clone", "bdev", "volsize"] },
    { name: "loop on btrfs", backend: "loop", filesystem: "btrfs", features: ["clone", "bdev", "volsize"] },
  ],
  qcow2: [
    { name: "qcow2 on xfs", backend: "qcow2", filesystem: "xfs", features: ["clone", "bdev", "volsize"] },
  ],
  ploop: [
    { name: "ploop on xfs", backend: "ploop", filesystem: "xfs", features: ["clone", "bdev", "volsize"] },
  ],
  btrfs: [
    { name: "btrfs", backend: "btrfs", filesystem: "btrfs", features: ["clone"] },
    {
      name: "btrfs with qgroups",
      backend: "btrfs",
      filesystem: "btrfs",
      quota: "qgroup",
      features: ["clone", "volsize"],
    },
    {
      name: "btrfs with simple quotas",
      backend: "btrfs",
      filesystem: "btrfs",
      quota: "simple",
      features: ["clone", "volsize"],
    },
  ],
  dmthin: [
    {
      name: "dmthin",
      backend: "dmthin",
      filesystem: "thin-pool",
      features: ["clone", "bdev", "volsize"],
      tier: "device-mapper",
    },
  ],
} as const satisfies Record<BackendName, readonly ConformanceBed[]>;

const rows: readonly ConformanceBed[] = Object.values(BEDS).flat();

/** All beds of this run; scripts/test says in the virtual machine MOSAIC_TIER=guest, and where device-mapper is. */
export const ALL_BEDS = rows.filter(isOfThisRun);

function isOfThisRun({ tier }: BedRow): boolean {
  const here = process.env.MOSAIC_TIER;
  if (tier !== "device-mapper") return tier === here;
  return here === (process.env.MOSAIC_DEVICE_MAPPER === "host" ? undefined : "guest");
}

/** Whether the volumes of a bed are block devices, which need a size. */
export function needsSize({ backend }: BedRow): boolean {
  return backend !== "plain" && backend !== "btrfs";
}

/** Whether the volumes of a bed are image files. */
export function hasImages(row: BedRow): boolean {
  return ["loop", "qcow2", "ploop"].includes(row.backend);
}

/** A bed that stands. */
export class Bed {
  private made: string | undefined;
  private mountPoints = 0;

  constructor(readonly row: BedRow) {}

  /** The directory for all of it; made when it is asked for, as nobody closes a bed whose tests are filtered out. */
  get directory(): string {
    this.made ??= makeTestDirectory("bed");
    return this.made;
  }

  /** The directory of the volumes' objects. */
  get location(): string {
    return join(this.directory, this.isPool ? "state/volumes" : "location");
  }

  /** What the config says for it. */
  get configuredLocation(): string {
    return this.isPool ? `/dev/mapper/${basename(this.directory)}` : this.location;
  }

  /** What is mounted below its directory as long as no volume is. */
  get ownMounts(): string[] {
    return this.isPool ? [] : [this.location];
  }

  get isPool(): boolean {
    return this.row.filesystem === "thin-pool";
  }

  get image(): string {
    return join(this.directory, "image");
  }

  /** Makes the filesystem, or the pool with its two devices, mounts it, and writes the config that `config` names. */
  open(sizeBytes = 3 * 1024 ** 3, metadataBytes = 16 * 1024 ** 2): void {
    if (this.isPool) this.openPool(sizeBytes, metadataBytes);
    else this.openFilesystem(sizeBytes);
    this.writeConfig("bed");
  }

  private openFilesystem(sizeBytes: number): void {
    mkdirSync(this.location);
    run("truncate", "-s", String(sizeBytes), this.image);
    run(`mkfs.${this.row.filesystem}`, "-q", ...(this.row.mkfs ?? []), this.image);
    run("mount", "-o", ["loop", ...(this.row.mount ?? [])].join(), this.image, this.location);
    chmodSync(this.location, 0o755);
    if (this.row.filesystem === "ext4") rmSync(join(this.location, "lost+found"), { recursive: true });
    if (this.row.quota === "qgroup" || this.row.quota === "simple")
      enableQuota(this.location, this.row.quota);
  }

  /** Makes the two devices of a pool, the pool, and the directory of its state. */
  private openPool(sizeBytes: number, metadataBytes: number): void {
    mkdirSync(this.location, { recursive: true, mode: 0o755 });
    const attach = (name: string, bytes: number) => {
      const path = join(this.directory, name);
      run("truncate", "-s", String(bytes), path);
      return run("losetup", "--find", "--show", path).trim();
    };
    const [metadata, data] = [attach("pool-metadata", metadataBytes), attach("pool-data", sizeBytes)];
    run("modprobe", "dm-thin-pool");
    const table = `0 ${sizeBytes / 512} thin-pool ${metadata} ${data} 128 0`;
    dmsetup("create", basename(this.directory), "--table", table);
  }

  /** The path of the bed's usual config. */
  get config(): string {
    return join(this.directory, "bed.mos");
  }

  /** Writes a config for the bed with more lines; gives its path. */
  writeConfig(name: string, lines: readonly string[] = []): string {
    const path = join(this.directory, `${name}.mos`);
    const where = this.isPool
      ? [`location: ${this.configuredLocation}`, "state: ./state"]
      : ["location: ./location"];
    const quota = this.row.quota ? [`quota: ${this.row.quota}`] : [];
    writeFileSync(path, [`type: ${this.row.backend}`, ...where, ...quota, ...lines, ""].join("\n"), {
      mode: 0o644,
    });
    return path;
  }

  /** A new empty directory to mount onto. */
  makeMountPoint(): string {
    const path = join(this.directory, `mnt${this.mountPoints++}`);
    mkdirSync(path);
    return path;
  }

  /** Unmounts and removes everything, whatever a test left. */
  close(): void {
    if (this.made) removeTestDirectory(this.made);
  }
}

/** Runs `tests` on a bed of this kind; where it cannot be made they are skipped with the reason, or fail when it is required. */
export function describeOnBed(
  row: BedRow,
  tests: (bed: Bed) => void,
  sizeBytes?: number,
  metadataBytes?: number,
): void {
  if (!isOfThisRun(row)) return;
  const reason = findObstacle(row);
  if (reason && !isRequired()) {
    describe.skip(`${row.name} (skipped: ${reason})`, () => tests(new Bed(row)));
    return;
  }
  describe(row.name, () => {
    const bed = new Bed(row);
    beforeAll(() => {
      if (reason) throw new Error(`the bed ${row.name} is required: ${reason}`);
      bed.open(sizeBytes, metadataBytes);
    });
    afterAll(() => bed.close());
    tests(bed);
  });
}

/** A new private directory below the test directory. */
export function makeTestDirectory(name: string): string {
  const base = process.env.MOSAIC_TEST_DIR ?? tmpdir();
  const path = mkdtempSync(join(base, `mosaic-${name}-`));
  live.add(path);
  return path;
}

/** Unmounts all below a directory, detaches the loop devices of files in it, and removes it. */
export function removeTestDirectory(path: string): void {
  for (let attempt = 0; attempt < 20 && !release(path); attempt++) Bun.sleepSync(100);
  Bun.spawnSync(["chattr", "-R", "-ia", path], { timeout: 20_000, stderr: "ignore" });
  rmSync(path, { recursive: true, force: true });
  live.delete(path);
}

/** The storage daemons that have images below a directory open, each with the file that it shows. */
export function daemonsBelow(directory: string): { readonly pid: number; readonly path: string }[] {
  return listProcesses().flatMap((pid) => {
    const argv = readArguments(pid);
    if (!argv[0]?.endsWith("qemu-storage-daemon")) return [];
    if (!argv.some((word) => word.includes(`"filename":"${directory}/`))) return [];
    const shown = /"mountpoint":"([^"]+)"/.exec(argv.join(" "))?.[1];
    const [socket] = [/"unix","path":"([^"]+)"/, /\bpath=(\S+)\/qmp\b/].flatMap(
      (one) => one.exec(argv.join(" "))?.[1] ?? [],
    );
    return [{ pid, path: shown ?? (socket?.endsWith("/nbd") ? socket : `${socket}/raw`) }];
  });
}

/** Ends the storage daemons of images below a directory, whoever needs them. */
export function endDaemonsBelow(directory: string): void {
  for (const { pid, path } of daemonsBelow(directory)) {
    process.kill(pid, "SIGCONT");
    process.kill(pid, "SIGTERM");
    for (let attempt = 0; attempt < 200 && readArguments(pid)[0]; attempt++) Bun.sleepSync(20);
    if (readArguments(pid)[0]) process.kill(pid, "SIGKILL");
    Bun.spawnSync(["umount", path], { timeout: 20_000, stderr: "ignore" });
    if (path !== "") rmSync(dirname(path), { recursive: true, force: true });
  }
}

function readArguments(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** True when nothing below the directory is mounted or attached any more. */
function release(path: string): boolean {
  const shown = daemonsBelow(path).map((daemon) => daemon.path);
  const mounts = readOwnMounts().filter((mount) => mount.mountPoint.startsWith(`${path}/`));
  for (const { mountPoint } of mounts.reverse()) {
    // A filesystem that is unmounted frozen stays for ever, out of reach.
    Bun.spawnSync(["fsfreeze", "--unfreeze", mountPoint], { timeout: 20_000, stderr: "ignore" });
    Bun.spawnSync(["umount", mountPoint], { timeout: 20_000, stderr: "ignore" });
  }
  removeMapped(basename(path));
  const devices = listLoopDevices().filter((device) => {
    const file = Bun.spawnSync(["losetup", "-n", "-O", "BACK-FILE", device.path], { timeout: 20_000 }).stdout;
    const backing = file.toString().trim();
    return backing.startsWith(`${path}/`) || shown.includes(backing);
  });
  for (const device of devices)
    Bun.spawnSync(["losetup", "-d", device.path], { timeout: 20_000, stderr: "ignore" });
  endDaemonsBelow(path);
  return mounts.length === 0 && devices.length === 0 && !findMappedDevice({ name: basename(path) });
}

/** Removes the pool of this name and all devices of it, as far as nothing uses them. */
function removeMapped(pool: string): void {
  const device = findMappedDevice({ name: pool });
  if (!device) return;
  for (const { name, isSuspended } of listMappedUsers(device.number)) {
    if (isSuspended) dmsetup("resume", name);
    Bun.spawnSync(["dmsetup", "remove", name], { env: DM_ENVIRONMENT, timeout: 20_000, stderr: "ignore" });
  }
  Bun.spawnSync(["dmsetup", "remove", pool], { env: DM_ENVIRONMENT, timeout: 20_000, stderr: "ignore" });
}

const DM_ENVIRONMENT = {
  ...process.env,
  LC_ALL: "C",
  // Where no udev runs, dmsetup makes the nodes only when it is told.
  ...(existsSync("/run/udev/control") ? {} : { DM_DISABLE_UDEV: "1" }),
};

/** Runs dmsetup, which must succeed; gives its output. */
export function dmsetup(...argv: string[]): string {
  const result = Bun.spawnSync(["dmsetup", ...argv], { env: DM_ENVIRONMENT, timeout: 60_000 });
  if (result.exitCode === 0) return result.stdout.toString();
  throw new Error(`dmsetup ${argv.join(" ")} failed: ${result.stderr}`);
}

/** Runs a program that must succeed; gives its output. */
export function run(...argv: string[]): string {
  const result = Bun.spawnSync(argv, { env: { ...process.env, LC_ALL: "C" }, timeout: 60_000 });
  if (result.exitCode === 0) return result.stdout.toString();
  throw new Error(`${argv.join(" ")} failed with ${result.exitCode}: ${result.stderr}`);
}

const live = new Set<string>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const path of [...live]) removeTestDirectory(path);
    process.exit(130);
  });
}

function isRequired(): boolean {
  return process.env.MOSAIC_REQUIRE_BEDS === "all";
}

function findObstacle(row: BedRow): string | undefined {
  if (process.geteuid?.() !== 0) return "it needs root";
  if (row.filesystem === "thin-pool" && !Bun.which("dmsetup")) return "dmsetup is missing";
  if (row.filesystem !== "thin-pool" && !Bun.which(`mkfs.${row.filesystem}`))
    return `mkfs.${row.filesystem} is missing`;
  return existsSync("/dev/loop-control") ? undefined : "this kernel has no loop devices";
}

/** Switches the quotas of a btrfs on; btrfs-progs before 6.5 know no simple ones: BTRFS_IOC_QUOTA_CTL, linux/btrfs.h. */
export function enableQuota(location: string, mode: "qgroup" | "simple"): void {
  const BTRFS_IOC_QUOTA_CTL = 0xc0109428;
  const ENABLE = { qgroup: 1n, simple: 4n };
  const request = Buffer.alloc(16);
  request.writeBigUInt64LE(ENABLE[mode]);
  const fd = openDirectory(location);
  ioctl(fd, BTRFS_IOC_QUOTA_CTL, request, location);
  closeFd(fd);
  if (mode === "qgroup") run("btrfs", "quota", "rescan", "-w", location);
}
