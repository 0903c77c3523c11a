import { mkdirSync } from "node:fs";
import { cpus, release } from "node:os";
import { BareThin } from "./barethin.ts";
import { Conversation } from "./conversation.ts";
import { MOCTL, scriptRun } from "./ground.ts";
import { measureInTurn, quantile, ratiosOf, runProgram, timeMs } from "./measure.ts";
import { makePool, measureUsed, type Pool } from "./pool.ts";
import { formatRatios, type Section } from "./table.ts";

// Thin volumes: part of scripts/bench where the kernel has thin pools, and else run in the virtual machine: DIRECTORY

const ROUNDS = 25;
const BUDGET_MS = 90_000;
const SIZE_BYTES = 2 * 1024 ** 3;

/** What is held by the volumes that are cloned, in MB. */
const HELD = { little: 10, much: 1000 } as const;

/** What a run in the virtual machine found. */
export interface ThinReport {
  readonly machine: string;
  readonly sections: Section[];
}

/** What clones of little and of much data take, and what the actions take beside a script. */
export async function measureThin(directory: string): Promise<Section[]> {
  const pool = makePool(directory, "thin");
  const bare = new BareThin(makePool(directory, "bare"), SIZE_BYTES);
  const server = new Conversation(pool.directory, "server", [MOCTL, "./bed.mos", "rpc"]);
  for (const [name, megabytes] of Object.entries(HELD)) makeFilled(pool, server, name, megabytes);
  bare.create("base");
  const times = measureInTurn(ROUNDS, listSides(server, bare), BUDGET_MS);
  await server.end();
  return describeTimes(times);
}

function listSides(server: Conversation, bare: BareThin) {
  const call = (method: string, params: object) => timeMs(() => server.call(method, params));
  const drop = (volume: string) => call("volume.drop", { volume });
  const clone = (origin: string) => {
    const ms = call("volume.clone", { origin, volume: "clone" });
    drop("clone");
    return ms;
  };
  return {
    createByTools: () => timeMs(() => bare.create("new")),
    create: () => call("volume.create", { volume: "new", kind: "fs", sizeBytes: SIZE_BYTES }),
    cloneByTools: () => {
      const ms = timeMs(() => bare.clone("base", "clone"));
      bare.drop("clone");
      return ms;
    },
    cloneLittle: () => clone("little"),
    cloneMuch: () => clone("much"),
    dropByTools: () => timeMs(() => bare.drop("new")),
    drop: () => drop("new"),
  };
}

function describeTimes(times: Record<keyof ReturnType<typeof listSides>, number[]>): Section[] {
  const compare = (what: string, ours: readonly number[], base: readonly number[], aim: string) => {
    const [mine, other] = [ours, base].map((ms) => `${quantile(ms, 0.5).toFixed(1)} ms`);
    return [what, mine ?? "", other ?? "", formatRatios(ratiosOf(ours, base)), aim, String(ours.length)];
  };
  return [
    {
      title: "Clone of a thin volume that holds much, beside one that holds little",
      header: ["call", "1 GB", "10 MB", "ratio of time", "aim", "runs"],
      rows: [compare("`volume.clone`", times.cloneMuch, times.cloneLittle, "below 1.2")],
    },
    {
      title: "Calls for thin volumes, beside a script as durable",
      header: ["call", "moctl", "script", "ratio of time", "aim", "runs"],
      rows: [
        compare("`volume.create`", times.create, times.createByTools, "below 1.5"),
        compare("`volume.clone`", times.cloneLittle, times.cloneByTools, "below 1.5"),
        compare("`volume.drop`", times.drop, times.dropByTools, "below 1.5"),
      ],
    },
  ];
}

/** Makes a volume with so many MB in it; all of them must be mapped in the pool. */
function makeFilled(pool: Pool, server: Conversation, volume: string, megabytes: number): void {
  server.call("volume.create", { volume, kind: "fs", sizeBytes: SIZE_BYTES });
  const before = measureUsed(pool);
  const fill = `moctl ./bed.mos mount $N mnt
yes mosaic | head -c ${megabytes}MB >mnt/data
sync -f mnt/data
moctl ./bed.mos umount $N mnt`;
  runProgram(scriptRun(pool, fill, volume));
  const mapped = measureUsed(pool) - before;
  if (mapped < megabytes * 1e6) throw new Error(`of ${megabytes} MB only ${mapped} bytes are mapped`);
}

if (import.meta.main) {
  const directory = process.argv[2] ?? "";
  mkdirSync(directory);
  const machine = `${cpus()[0]?.model.trim()} with Linux ${release()}`;
  const report: ThinReport = { machine, sections: await measureThin(directory) };
  console.log(JSON.stringify(report));
}
