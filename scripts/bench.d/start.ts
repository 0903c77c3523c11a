import { type Ground, moctlRun } from "./ground.ts";
import { measure } from "./measure.ts";
import { compare, comparisonHeader, type Section } from "./table.ts";

const ROUNDS = 60;

/** How long it takes to start, beside a program of the same runtime that does nothing. */
export function measureStart(ground: Ground): Section {
  const bed = ground.openBed("plain", 10);
  const few = ground.openBed("plain", 1000);
  const many = ground.openBed("plain", 10_000);
  const empty = ground.buildEmptyProgram();
  const emptyRun = () => ({ argv: [empty] });
  const quick = measure(ROUNDS, {
    empty: emptyRun,
    version: () => moctlRun(bed, "--version"),
    have: () => moctlRun(bed, "have", "v00001"),
    list: () => moctlRun(bed, "list"),
  });
  const long = measure(ROUNDS, {
    empty: emptyRun,
    few: () => moctlRun(few, "list"),
    many: () => moctlRun(many, "list"),
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
