import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type Mosaic, openMosaic } from "../../src/index.ts";
import { type Change, readJournal } from "./journal.ts";

// What runs in the virtual machine of scripts/powercut: looks whether what was answered is there, and goes on working.

const MIB = 1024 ** 2;
const BASE = "/scratch/powercut";
const NAMES = ["a", "b", "c", "d"];
const KINDS = ["loop", "btrfs", "dmthin"] as const;
type Kind = (typeof KINDS)[number];

const [journal = "", only = "0"] = process.argv.slice(2);
const expected = readJournal(readFileSync(journal, "utf8"));
prepare();
const mosaics = new Map<Kind, Mosaic>();
for (const kind of KINDS) mosaics.set(kind, await openMosaic(`${BASE}/${kind}.mos`));
for (const [kind, mosaic] of mosaics) await verify(kind, mosaic);
console.log("verified");
while (only === "0") await work();

/** Makes what is not there yet, and the devices and mounts that no reboot keeps. */
function prepare(): void {
  const isNew = !existsSync(`${BASE}/ready`);
  mkdirSync(`${BASE}/loop`, { recursive: true, mode: 0o755 });
  mkdirSync(`${BASE}/btrfs`, { recursive: true, mode: 0o755 });
  mkdirSync(`${BASE}/state`, { recursive: true, mode: 0o700 });
  for (const module of ["loop", "btrfs", "dm-thin-pool"]) run("modprobe", module);
  const attach = (number: number, name: string, bytes: number) => {
    if (isNew) run("truncate", "-s", String(bytes), `${BASE}/${name}`);
    run("losetup", `/dev/loop${number}`, `${BASE}/${name}`);
  };
  attach(20, "btrfs.img", 1024 * MIB);
  attach(21, "metadata.img", 16 * MIB);
  attach(22, "data.img", 1024 * MIB);
  if (isNew) run("mkfs.btrfs", "-q", "-f", "/dev/loop20");
  run("mount", "/dev/loop20", `${BASE}/btrfs`);
  run("chmod", "755", `${BASE}/btrfs`);
  const pool = "pool: {metadata: /dev/loop21, data: /dev/loop22, blockSize: 64K}";
  writeConfig("loop", [`location: ${BASE}/loop`]);
  writeConfig("btrfs", [`location: ${BASE}/btrfs`]);
  writeConfig("dmthin", ["location: /dev/mapper/powercut", pool, `state: ${BASE}/state`]);
  if (isNew) {
    // The first activation formats a pool: that is not for mosaic.
    const table = `0 ${(1024 * MIB) / 512} thin-pool /dev/loop21 /dev/loop22 128 0`;
    run("env", "DM_DISABLE_UDEV=1", "dmsetup", "create", "powercut", "--table", table);
    run("env", "DM_DISABLE_UDEV=1", "dmsetup", "remove", "powercut");
    writeFileSync(`${BASE}/ready`, "");
    run("sync");
  }
}

function writeConfig(kind: Kind, lines: readonly string[]): void {
  writeFileSync(`${BASE}/${kind}.mos`, [`type: ${kind}`, ...lines, ""].join("\n"), { mode: 0o644 });
}

/** Throws when a volume that was answered is not there, does not mount, or when something is there that nobody asked for. */
async function verify(kind: Kind, mosaic: Mosaic): Promise<void> {
  // The first makes the pool active, which is all that it can say of it then.
  await mosaic.check({ repair: true });
  const { findings } = await mosaic.check({ repair: true });
  const left = findings.filter(({ severity, isRepaired }) => severity === "problem" && !isRepaired);
  if (left.length > 0) throw new Error(`${kind}: ${JSON.stringify(left)}`);
  const listed = new Map(mosaic.listVolumes().map((record) => [String(record.name), record]));
  for (const name of NAMES) {
    const allowed = expected.statesOf(kind, name);
    const found = listed.get(name);
    const size = found ? (found.sizeBytes ?? 0) : undefined;
    if (!allowed.some((state) => state === size))
      throw new Error(`${kind} ${name}: found ${size}, expected one of ${JSON.stringify(allowed)}`);
    listed.delete(name);
    // What is known from now on, whichever of the two it was.
    console.log(`end ${kind} ${name} ${size ?? "absent"}`);
    if (found) await tryMount(mosaic, name);
  }
  if (listed.size > 0) throw new Error(`${kind}: nobody asked for ${[...listed.keys()].join(", ")}`);
}

async function tryMount(mosaic: Mosaic, name: string): Promise<void> {
  mkdirSync("/run/powercut", { recursive: true });
  await mosaic.mountVolume(name, "/run/powercut");
  await mosaic.unmountVolume(name, "/run/powercut");
}

/** One change at random of one mosaic, told before and after. */
async function work(): Promise<void> {
  const kind = pick(KINDS);
  const mosaic = mosaics.get(kind) as Mosaic;
  const listed = new Map(mosaic.listVolumes().map((record) => [String(record.name), record]));
  const name = pick(NAMES);
  const volume = listed.get(name);
  const sized = kind !== "btrfs";
  if (!volume) {
    const [origin] = [...listed.values()];
    const { features } = mosaic.info();
    if (origin && features.includes("clone") && Math.random() < 0.5)
      return tell({ kind, name, size: origin.sizeBytes ?? 0 }, () => mosaic.cloneVolume(origin.name, name));
    const sizeBytes = sized ? 16 * MIB : undefined;
    return tell({ kind, name, size: sizeBytes ?? 0 }, () =>
      mosaic.createVolume(name, { kind: "fs", sizeBytes }),
    );
  }
  if (sized && Math.random() < 0.3) {
    const size = (volume.sizeBytes ?? 0) + 8 * MIB;
    return tell({ kind, name, size }, () => mosaic.resizeVolume(name, size));
  }
  return tell({ kind, name, size: undefined }, () => mosaic.dropVolume(name));
}

async function tell({ kind, name, size }: Change, change: () => Promise<unknown>): Promise<void> {
  console.log(`begin ${kind} ${name} ${size ?? "absent"}`);
  await change();
  console.log(`end ${kind} ${name} ${size ?? "absent"}`);
}

function pick<T>(values: readonly T[]): T {
  return values[Math.floor(Math.random() * values.length)] as T;
}

function run(...argv: string[]): void {
  const result = Bun.spawnSync(argv);
  if (result.exitCode !== 0) throw new Error(`${argv.join(" ")} failed: ${result.stderr}`);
}
