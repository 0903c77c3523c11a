import { type BackendName, type Ground, scriptSide } from "./ground.ts";
import { measure } from "./measure.ts";
import { compare, comparisonHeader, type Section } from "./table.ts";

const ROUNDS = 25;
const BACKENDS = ["plain", "btrfs"] as const satisfies BackendName[];

/** Whether a create takes longer where many volumes are. */
export function measureCount(ground: Ground): Section {
  return {
    title: "Create among many volumes, beside create among few",
    header: comparisonHeader("backend", "10,000", "10"),
    rows: BACKENDS.map((backend) => measureBackend(ground, backend)),
  };
}

function measureBackend(ground: Ground, backend: BackendName): string[] {
  const create = "moctl ./bed.mos create fs $N";
  const drop = "moctl ./bed.mos drop $N";
  const { few, many } = measure(ROUNDS, {
    few: scriptSide(ground.openBed(backend, 10), "n", create, "", drop),
    many: scriptSide(ground.openBed(backend, 10_000), "n", create, "", drop),
  });
  return compare(`${backend}: create`, many, few, "time 1.0");
}
