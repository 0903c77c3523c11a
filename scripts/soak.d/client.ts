import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chooseCall, chooseGarbage } from "./calls.ts";
import { Connection } from "./connection.ts";
import { Random } from "./random.ts";

// One client, a process of its own that may be killed at any moment: DIRECTORY SEED [SECONDS]. With a time it keeps one
// server all along, and looks whether that grows.

const OPEN_MAX = 8;
const ROUND = 100;
const GROWTH_MAX_BYTES = 150 * 1024 ** 2;

const [directory = "", seed = "", seconds] = process.argv.slice(2);
const random = new Random(Number(seed));
const connection = new Connection(join(directory, "soak.mos"));

try {
  if (seconds === undefined) await visit();
  else await stay(performance.now() + Number(seconds) * 1000);
  console.log(JSON.stringify(connection.outcomes));
} catch (thrown) {
  console.error(`soak: client ${seed}: ${(thrown as Error).message}`);
  process.exit(1);
}

async function visit(): Promise<void> {
  await talk(random.between(1, 60));
  const end = random.choose(["answered", "at once", "signal"]);
  if (end === "answered") await connection.untilOpen(0);
  await connection.end(end === "signal" ? "SIGTERM" : undefined);
}

async function stay(deadline: number): Promise<void> {
  const [descriptors, memory]: [number[], number[]] = [[], []];
  while (performance.now() < deadline) {
    await talk(ROUND);
    await connection.untilOpen(0);
    descriptors.push(await countIdleDescriptors());
    memory.push(residentBytes());
  }
  await connection.end();
  const [early, last] = [Math.max(...descriptors.slice(0, 3)), descriptors.at(-1) ?? 0];
  const grown = Math.max(...memory) - (memory[0] ?? 0);
  console.log(
    `soak: the server that stayed: ${descriptors.length * ROUND} calls, descriptors ${early} and then ${last},`,
  );
  console.log(`soak: memory ${toMib(memory[0] ?? 0)} MiB, at most ${toMib(Math.max(...memory))} MiB`);
  if (last > early) throw new Error(`descriptors grew: ${descriptors.join(" ")}`);
  if (grown > GROWTH_MAX_BYTES) throw new Error(`memory grew: ${memory.map(toMib).join(" ")}`);
}

async function talk(calls: number): Promise<void> {
  for (let count = 0; count < calls; count++) {
    const call = () => connection.begin(chooseCall(random, directory));
    if (random.happens(0.05)) connection.send(chooseGarbage(random));
    if (random.happens(0.05))
      connection.send(`[${Array.from({ length: random.between(1, 5) }, call).join()}]`);
    else connection.send(call());
    if (random.happens(0.15)) {
      const params = { id: random.choose(connection.open) };
      connection.send(JSON.stringify({ jsonrpc: "2.0", method: "$/cancelRequest", params }));
    }
    await connection.untilOpen(OPEN_MAX);
  }
}

/** The descriptors of the server when it is idle: without subscriptions, jobs, and the location, which it keeps for a second. */
async function countIdleDescriptors(): Promise<number> {
  for (let number = 1; number < 500; number++)
    connection.send(
      connection.begin({ method: "events.unsubscribe", params: { subscription: `s${number}` } }),
    );
  await connection.untilOpen(0);
  const count = () => readdirSync(`/proc/${connection.server.pid}/fd`).length;
  let [least, same] = [count(), 0];
  while (same < 75) {
    await Bun.sleep(20);
    const now = count();
    same = now >= least ? same + 1 : 0;
    least = Math.min(least, now);
  }
  return least;
}

function residentBytes(): number {
  const status = readFileSync(`/proc/${connection.server.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

function toMib(bytes: number): number {
  return Math.round(bytes / 1024 ** 2);
}
