import { expect, test } from "bun:test";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";
import { Machine } from "./machine.ts";

// The virtual machine is killed at random moments while it works, and started again on the same disk: after each cut,
// what was answered is there and whole, nothing half-made is listed, and check is clean or repairs it.

const CUTS = 30;
/** Of every so many cuts one comes while the machine still looks at what the one before it left. */
const EARLY = 5;
/** A cut comes after fewer answers than this, and somewhere in what follows. */
const ANSWERED_MAX = 5;
const ANSWERED = '"answered"';
const LIMIT_MS = 3_600_000;

const cannotRun = process.geteuid?.() !== 0 && process.env.MOSAIC_REQUIRE_BEDS !== "all";
const reason = cannotRun ? " (skipped: it needs root)" : "";

test.skipIf(cannotRun)(
  `${CUTS} power cuts lose nothing${reason}`,
  async () => {
    const answered = await loseNothing();
    console.log(`changes that were answered before a cut: ${answered.join(" ")}`);
    expect(answered.length).toBe(CUTS);
    expect(Math.max(...answered)).toBeGreaterThan(0);
  },
  LIMIT_MS,
);

/** Goes through all cuts; gives for each how many changes were answered before it. */
async function loseNothing(): Promise<number[]> {
  const directory = makeTestDirectory("powercut");
  const ledger: string[] = [];
  const answered: number[] = [];
  try {
    for (let cut = 1; cut <= CUTS; cut++) {
      const said = await cutPower(directory, ledger, cut % EARLY === 0);
      answered.push(said.filter((line) => line.includes(ANSWERED)).length);
      ledger.push(...said);
    }
    await using last = new Machine(directory, ledger, "verify");
    await last.end();
    return answered;
  } finally {
    removeTestDirectory(directory);
  }
}

/** Lets the machine work and cuts its power; gives what it said for the ledger. */
async function cutPower(directory: string, ledger: readonly string[], isEarly: boolean): Promise<string[]> {
  await using machine = new Machine(directory, ledger, "work");
  await machine.untilSaid(isEarly ? "begun" : "verified");
  // How long a change takes depends on what else the host does.
  if (!isEarly) await machine.untilSaid(ANSWERED, Math.floor(Math.random() * ANSWERED_MAX));
  await Bun.sleep(Math.random() * 3_000);
  await machine.cut();
  return machine.lines().filter((line) => line.startsWith("{"));
}
