import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { CheckReport } from "../../src/api/results.ts";
import { Agent } from "./agent.ts";
import { type Ground, openGrounds } from "./grounds.ts";
import {
  applyChange,
  type Change,
  type Known,
  type Line,
  readLedger,
  settle,
  type Volumes,
} from "./ledger.ts";

// Runs in the virtual machine until the power is cut: worker.ts DIRECTORY LEDGER [verify]. It looks whether everything is
// there that the ledger promises, says what it found, and goes on changing it. Each line is out before the change begins,
// and after it is answered.

const MIB = 1024 ** 2;
const SIZE = 32 * MIB;
const DATA_BYTES = 128 * 1024;
/** Of each lane; what is there takes time to look at after each cut. */
const VOLUMES_MAX = 3;

const [directory = "", ledgerPath = "", mode] = process.argv.slice(2);
const ledger = readFileSync(ledgerPath, "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as Line);
const run = Bun.hash(String(performance.timeOrigin)).toString(36).slice(0, 5);
let changes = 0;

say("begun");
const lanes = await Promise.all(openGrounds(directory).map(verifyGround));
say("verified");
if (mode === "verify") await Promise.all(lanes.map(({ agent }) => agent.end()));
else await Promise.all(lanes.flatMap(({ ground, work }) => ground.lanes.map(work)));

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

function tell(line: Line): void {
  say(JSON.stringify(line));
}

async function verifyGround(ground: Ground) {
  const agent = new Agent(ground.config);
  await repair(ground, agent);
  const { volumes } = await agent.call<{ volumes: { name: string; sizeBytes: number | null }[] }>(
    "volume.list",
  );
  const sizes = new Map(volumes.map(({ name, sizeBytes }) => [name, sizeBytes] as const));
  const found = settle(readLedger(ledger, ground.name), sizes);
  for (const [volume, known] of found) {
    const sum = await openVolume(ground, agent, volume, known, readData);
    if (known.sum !== null && sum !== known.sum) throw new Error(`${ground.name}: ${volume} has other data`);
  }
  tell({ at: ground.name, found: [...found] });
  return { ground, agent, work: (lane: string) => work(ground, agent, lane, found) };
}

/** Checks and repairs until nothing is left to repair: a pool that is not active is all that a check can say of it. */
async function repair({ name }: Ground, agent: Agent): Promise<void> {
  for (let round = 1; ; round++) {
    const report = await agent.call<CheckReport>("mosaic.check", { repair: true });
    if (report.problems > 0 || round > 3) throw new Error(`${name}: ${JSON.stringify(report)}`);
    if (!report.findings.some(({ isRepaired }) => isRepaired)) return;
  }
}

/** Opens a volume by a mount or as a device, gives the path for its data to `use`, and closes it. */
async function openVolume<Result>(
  { name }: Ground,
  agent: Agent,
  volume: string,
  { kind }: Known,
  use: (path: string) => Result | Promise<Result>,
): Promise<Result> {
  if (kind === "disk") {
    const { device } = await agent.call<{ device: string }>("volume.attach", { volume });
    const result = await use(device);
    await agent.call("volume.detach", { volume });
    return result;
  }
  const mountPoint = join(directory, "mnt", name, volume);
  mkdirSync(mountPoint, { recursive: true });
  await agent.call("volume.mount", { volume, mountPoint });
  const result = await use(join(mountPoint, "data"));
  await agent.call("volume.umount", { volume, mountPoint });
  return result;
}

function readData(path: string): string | null {
  try {
    const file = openSync(path, "r");
    const data = Buffer.alloc(DATA_BYTES);
    readSync(file, data);
    closeSync(file);
    return sumOf(data);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw thrown;
  }
}

function writeData(path: string, data: Buffer): void {
  const file = openSync(path, path.startsWith("/dev/") ? "r+" : "w");
  writeSync(file, data);
  fsyncSync(file);
  closeSync(file);
  if (path.startsWith("/dev/")) return;
  const parent = openSync(join(path, ".."), "r");
  fsyncSync(parent);
  closeSync(parent);
}

function sumOf(data: Buffer): string {
  return new Bun.CryptoHasher("sha256").update(data).digest("hex");
}

/** Changes the volumes of one lane, one after another, for ever. */
async function work(ground: Ground, agent: Agent, lane: string, found: Volumes): Promise<never> {
  let volumes: Volumes = new Map([...found].filter(([name]) => name.startsWith(lane)));
  for (;;) {
    const change = chooseChange(ground, lane, volumes);
    const number = ++changes;
    const data = Buffer.from(crypto.getRandomValues(new Uint8Array(DATA_BYTES)).buffer);
    const begins = change.op === "write" ? { ...change, sum: sumOf(data) } : change;
    tell({ at: ground.name, number, begins });
    await makeChange(ground, agent, volumes, begins, data);
    tell({ at: ground.name, number, answered: true });
    volumes = applyChange(volumes, begins);
  }
}

function chooseChange({ hasDevices }: Ground, lane: string, volumes: Volumes): Change {
  const volume = `${lane}${run}-${changes}`;
  const [name, known] = choose([...volumes]) ?? [];
  if (name === undefined || known === undefined)
    return { op: "create", volume, known: makeKnown(hasDevices) };
  const other = choose(["write", hasDevices ? "resize" : "write", "drop"] as const);
  if (volumes.size >= VOLUMES_MAX) return Math.random() < 0.6 ? { op: "drop", volume: name } : alter();
  return Math.random() < 0.4 ? make() : alter();

  function make(): Change {
    if (Math.random() < 0.5) return { op: "create", volume, known: makeKnown(hasDevices) };
    return { op: "clone", volume, origin: String(name) };
  }
  function alter(): Change {
    if (other === "drop") return { op: "drop", volume: String(name) };
    if (other !== "resize") return { op: "write", volume: String(name), sum: "" };
    const isShrink = known?.kind === "fs" && Number(known.sizeBytes) > SIZE;
    const sizeBytes = isShrink ? SIZE : Number(known?.sizeBytes) + 8 * MIB;
    return { op: "resize", volume: String(name), sizeBytes };
  }
}

function makeKnown(hasDevices: boolean): Known {
  const kind = hasDevices && Math.random() < 0.3 ? "disk" : "fs";
  return { kind, sizeBytes: hasDevices ? SIZE : null, sum: null };
}

function choose<T>(candidates: readonly T[]): T | undefined {
  return candidates[Math.floor(Math.random() * candidates.length)];
}

async function makeChange(
  ground: Ground,
  agent: Agent,
  volumes: Volumes,
  change: Change,
  data: Buffer,
): Promise<void> {
  const { op, volume } = change;
  if (op === "create") {
    const { kind, sizeBytes } = change.known;
    await agent.call("volume.create", { volume, kind, ...(sizeBytes !== null && { sizeBytes }) });
  } else if (op === "drop") await agent.call("volume.drop", { volume });
  else if (op === "resize")
    await agent.call("volume.resize", { volume, sizeBytes: change.sizeBytes, shrink: true });
  else {
    const known = volumes.get(op === "clone" ? change.origin : volume) as Known;
    const clone = () => agent.call("volume.clone", { origin: (change as { origin: string }).origin, volume });
    if (op === "write") await openVolume(ground, agent, volume, known, (path) => writeData(path, data));
    else if (Math.random() < 0.5) await clone();
    else await openVolume(ground, agent, change.origin, known, clone);
  }
}
