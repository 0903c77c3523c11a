import { type Bed, type Ground, moctlRun, scriptRun, scriptSide } from "./ground.ts";
import { measureSpeed } from "./imagespeed.ts";
import { measure, runProgram } from "./measure.ts";
import { compare, comparisonHeader, type Section } from "./table.ts";

const ROUNDS = 15;
/** The backends whose images a program shows as raw files. */
const BACKENDS = ["qcow2", "ploop"] as const;
const CLONE = "moctl ./bed.mos clone $N $N-clone";
const ATTACH = `moctl ./bed.mos attach attached >device
dd if=$(cut -d ' ' -f 2 device) of=/dev/null bs=4k count=1 iflag=direct status=none`;

/** What images cost that are shown by a program: clones, the way to a device, and its speed. */
export function measureImages(ground: Ground): Section[] {
  const beds = BACKENDS.map((backend) => ground.openBed(backend));
  return [
    {
      title: "Clone of an image with much data, beside one with little",
      header: comparisonHeader("backend", "1 GB", "10 MB"),
      rows: beds.map(compareClones),
      scripts: CLONE,
    },
    {
      title: "Attach and the first read, beside the backend loop",
      header: comparisonHeader("backend", "moctl", "loop"),
      rows: beds.map((bed) => compareAttach(bed, ground.openBed("loop"))),
      scripts: ATTACH,
    },
    ...beds.map(measureSpeed),
  ];
}

/** Each clone is the first of its origin, which is adopted for it: a later one lies over the base of the first, and is quicker. */
function compareClones(bed: Bed): string[] {
  makeFilledImage(bed, "little", "10MB");
  makeFilledImage(bed, "much", "1GB");
  const makeOrigin = (filled: string) => `cp -r --reflink=always location/${filled} location/$N
moctl ./bed.mos adopt fs $N
sync -f location`;
  const drop = "moctl ./bed.mos drop $N-clone\nmoctl ./bed.mos drop $N";
  const { little, much } = measure(ROUNDS, {
    little: scriptSide(bed, "l", CLONE, makeOrigin("little"), drop),
    much: scriptSide(bed, "m", CLONE, makeOrigin("much"), drop),
  });
  return compare(`${bed.backend}: clone`, much, little, "time below 1.2");
}

function compareAttach(bed: Bed, loop: Bed): string[] {
  for (const each of [bed, loop]) runProgram(moctlRun(each, "create", "disk", "attached", "256M"));
  const detach = "moctl ./bed.mos detach attached";
  const { shown, direct } = measure(ROUNDS, {
    shown: scriptSide(bed, "", ATTACH, "", detach),
    direct: scriptSide(loop, "", ATTACH, "", detach),
  });
  for (const each of [bed, loop]) runProgram(moctlRun(each, "drop", "attached"));
  return compare(`${bed.backend}: attach`, shown, direct);
}

function makeFilledImage(bed: Bed, name: string, data: string): void {
  runProgram(moctlRun(bed, "create", "fs", name, "2G"));
  const fill = `moctl ./bed.mos mount $N mnt
yes mosaic | head -c ${data} >mnt/data
sync -f mnt/data
moctl ./bed.mos umount $N mnt`;
  runProgram(scriptRun(bed, fill, name));
}
