import { type BackendName, type Bed, type Ground, moctlRun, scriptRun, scriptSide } from "./ground.ts";
import { measure, runProgram } from "./measure.ts";
import { compare, comparisonHeader, type Section } from "./table.ts";

const ROUNDS = 25;
const BACKENDS = ["loop", "btrfs"] as const satisfies BackendName[];
const CLONE = { loop: ["2G"], btrfs: [] } as const;

/** Whether a clone of much data takes longer than one of little. */
export function measureClone(ground: Ground): Section {
  return {
    title: "Clone of a volume with much data, beside one with little",
    header: comparisonHeader("backend", "1 GB", "10 MB"),
    rows: BACKENDS.map((backend) => measureBackend(ground.openBed(backend))),
  };
}

function measureBackend(bed: Bed): string[] {
  makeFilledVolume(bed, "little", "10M");
  makeFilledVolume(bed, "much", "1G");
  const drop = "moctl ./bed.mos drop $N";
  const { little, much } = measure(ROUNDS, {
    little: scriptSide(bed, "little-", "moctl ./bed.mos clone little $N", "", drop),
    much: scriptSide(bed, "much-", "moctl ./bed.mos clone much $N", "", drop),
  });
  return compare(`${bed.backend}: clone`, much, little, "time below 1.1");
}

function makeFilledVolume(bed: Bed, name: string, data: string): void {
  const size = CLONE[bed.backend as keyof typeof CLONE];
  runProgram(moctlRun(bed, "create", "fs", name, ...size));
  const fill = `moctl ./bed.mos mount $N mnt
head -c ${data} /dev/urandom >mnt/data
sync -f mnt/data
moctl ./bed.mos umount $N mnt`;
  runProgram(scriptRun(bed, fill, name));
}
