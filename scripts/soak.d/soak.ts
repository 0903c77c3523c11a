import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mountPointOf, VOLUMES } from "./calls.ts";
import { Connection } from "./connection.ts";
import { Random } from "./random.ts";

// Run by scripts/soak, which makes the mosaic and looks for what is left: DIRECTORY SECONDS SEED

const CLIENTS = 3;
const END_LIMIT_MS = 60_000;

const [directory = "", seconds = "", seed = ""] = process.argv.slice(2);
const random = new Random(Number(seed));
const faults: string[] = [];
const outcomes: Record<string, number> = {};
let [visits, kills] = [0, 0];

for (const name of [...VOLUMES, "meta"]) mkdirSync(mountPointOf(directory, name));
const deadline = performance.now() + Number(seconds) * 1000;
await Promise.all([runSteadyClient(), ...Array.from({ length: CLIENTS }, runClients)]);
await expectNoServer();
await tidyUp().catch((thrown: Error) => faults.push(thrown.message));
await expectNoServer();

console.log(`soak: ${visits} clients, ${kills} of them killed; ${JSON.stringify(outcomes)}`);
for (const fault of faults) console.error(`soak: FAULT: ${fault}`);
process.exit(faults.length > 0 ? 1 : 0);

function startClient(...args: string[]) {
  const argv = [process.execPath, join(import.meta.dir, "client.ts"), directory, ...args];
  return Bun.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
}

async function runSteadyClient(): Promise<void> {
  const client = startClient(String(random.between(0, 2 ** 30)), seconds);
  const text = await client.stdout.text();
  if ((await client.exited) !== 0) faults.push("the client that stayed failed");
  for (const line of text.split("\n").filter((part) => part.startsWith("soak: "))) console.log(line);
}

/** One client after the other, of which about half are killed. */
async function runClients(): Promise<void> {
  while (performance.now() < deadline && faults.length === 0) {
    const number = random.between(0, 2 ** 30);
    const client = startClient(String(number));
    const text = client.stdout.text();
    visits++;
    const isKilled = random.happens(0.5);
    const limit = setTimeout(
      () => client.kill("SIGKILL"),
      isKilled ? random.between(20, 600) : 4 * END_LIMIT_MS,
    );
    const status = await client.exited;
    clearTimeout(limit);
    if (isKilled && client.signalCode === "SIGKILL") kills++;
    else if (status !== 0) faults.push(`client ${number} ended with ${status ?? client.signalCode}`);
    else addOutcomes(JSON.parse(await text));
  }
}

function addOutcomes(more: Record<string, number>): void {
  for (const [outcome, count] of Object.entries(more)) outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
}

/** A server whose client is gone ends by itself. */
async function expectNoServer(): Promise<void> {
  const end = performance.now() + END_LIMIT_MS;
  while (listServers().length > 0 && performance.now() < end) await Bun.sleep(50);
  for (const pid of listServers()) faults.push(`the server ${pid} is still there`);
}

function listServers(): string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      if (readFileSync(`/proc/${name}/comm`, "utf8").trim() !== "moctl") return false;
      return readFileSync(`/proc/${name}/environ`, "utf8")
        .split("\0")
        .includes(`MOSAIC_RUN_DIR=${directory}/run`);
    } catch {
      return false;
    }
  });
}

/** Unmounts, detaches and drops what is there, by calls; the mosaic must be sound before and empty then. */
async function tidyUp(): Promise<void> {
  const connection = new Connection(join(directory, "soak.mos"));
  const call = async (method: string, params: object) => {
    connection.send(connection.begin({ method, params }));
    await connection.untilOpen(0);
  };
  await call("mosaic.umount", { mountPoint: mountPointOf(directory, "meta") });
  for (const volume of VOLUMES) {
    await call("volume.umount", { volume, mountPoint: mountPointOf(directory, volume) });
    await call("volume.detach", { volume });
    await call("volume.drop", { volume });
  }
  await connection.end();
  if (connection.outcomes.done !== 1 + 3 * VOLUMES.length)
    throw new Error(`it cannot be tidied up: ${JSON.stringify(connection.outcomes)}`);
  const left = readdirSync(join(directory, "location"));
  if (left.length > 0) throw new Error(`left in the location: ${left.join(", ")}`);
  if (existsSync(join(directory, "location/.mosaic"))) throw new Error("left in the location: .mosaic");
}
