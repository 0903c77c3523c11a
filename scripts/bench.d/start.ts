import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { type Bed, type Ground, MOCTL } from "./ground.ts";
import { measure, type Side } from "./measure.ts";
import { compare, comparisonHeader, type Section } from "./table.ts";

const ROUNDS = 60;
const COPIES = 6;

/** How long it takes to start, beside a program of the same runtime that does nothing. */
export function measureStart(ground: Ground): Section {
  const bed = ground.openBed("plain", 10);
  const few = ground.openBed("plain", 1000);
  const many = ground.openBed("plain", 10_000);
  const runEmpty = copyProgram(ground, ground.buildEmptyProgram(), "empty");
  const runMoctl = copyProgram(ground, MOCTL, "moctl");
  const quick = measure(ROUNDS, {
    empty: runEmpty(bed),
    version: runMoctl(bed, "--version"),
    have: runMoctl(bed, "have", "v00001"),
    list: runMoctl(bed, "list"),
  });
  const long = measure(ROUNDS, {
    empty: runEmpty(bed),
    few: runMoctl(few, "list"),
    many: runMoctl(many, "list"),
  });
  return {
    title: "Start-up, beside an empty program",
    header: comparisonHeader("command", "moctl", "empty"),
    rows: [
      compare("`--version`", quick.version, quick.empty, "CPU at most 1.2"),
      compare("`have`", quick.have, quick.empty, "CPU at most 2.4"),
      compare("`list`, 10 volumes", quick.list, quick.empty),
      compare("`list`, 1,000 volumes", long.few, long.empty),
      compare("`list`, 10,000 volumes", long.many, long.empty, "below 150 ms"),
    ],
  };
}

/**
 * Copies of a program, which the rounds take in turn: how the page cache happens to hold a file of 110 MB makes one
 * copy start a fifth quicker than the next.
 */
function copyProgram(ground: Ground, program: string, name: string) {
  const copies = Array.from({ length: COPIES }, (_, number) => join(ground.directory, `${name}-${number}`));
  for (const copy of copies) copyFileSync(program, copy);
  return (bed: Bed, ...words: string[]): Side =>
    (round) => ({
      argv: [copies[round % COPIES] ?? program, "./bed.mos", ...words],
      cwd: bed.directory,
    });
}
