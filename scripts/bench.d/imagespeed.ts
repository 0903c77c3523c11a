import { readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { type Load, type Target, timeLoad } from "./blockspeed.ts";
import { endExported, makeExported } from "./exported.ts";
import { type Bed, moctlRun } from "./ground.ts";
import { measureInTurn, quantile, ratiosOf, runProgram } from "./measure.ts";
import type { Section } from "./table.ts";

const ROUNDS = 9;
const SIZE_BYTES = 256 * 1024 ** 2;

const SMALL = { blockBytes: 4096, blocks: 1000 } as const;
const LARGE = { blockBytes: 1024 ** 2, blocks: 64 } as const;
const LOADS: Readonly<Record<string, Load>> = {
  "reads of 4 KB": { ...SMALL, isRandom: false, isWriting: false },
  "random reads": { ...SMALL, isRandom: true, isWriting: false },
  "writes of 4 KB": { ...SMALL, isRandom: false, isWriting: true },
  "random writes": { ...SMALL, isRandom: true, isWriting: true },
  "reads of 1 MB": { ...LARGE, isRandom: false, isWriting: false },
  "writes of 1 MB": { ...LARGE, isRandom: false, isWriting: true },
};

/** How a storage daemon can open the file of an image; it does not depend on the format. */
const MODES = {
  "writeback, threads": { aio: "threads", cache: { direct: false } },
  "writeback, io_uring": { aio: "io_uring", cache: { direct: false } },
  "direct, threads": { aio: "threads", cache: { direct: true } },
  "direct, native": { aio: "native", cache: { direct: true } },
  "direct, io_uring": { aio: "io_uring", cache: { direct: true } },
} as const;

const RAW = "raw";

/** The speed of the device of an image by moctl and by each mode, beside that of a raw image on the same filesystem. */
export function measureSpeed(bed: Bed): Section {
  using ending = new DisposableStack();
  const targets: Record<string, Target> = { [RAW]: attachRaw(bed, ending) };
  targets[`${bed.backend}, by moctl`] = attachVolume(bed, ending);
  if (bed.backend === "qcow2")
    for (const [mode, options] of Object.entries(MODES))
      targets[mode] = attachMode(bed, mode, options, ending);
  for (const target of Object.values(targets)) fill(target);
  return describeSpeed(Object.keys(targets), measureTargets(targets));
}

function measureTargets(targets: Readonly<Record<string, Target>>): Record<string, number[]> {
  const sides = Object.entries(LOADS).flatMap(([what, load]) =>
    Object.entries(targets).map(
      ([name, target]) => [keyOf(name, what), () => timeLoad(target, load, SIZE_BYTES)] as const,
    ),
  );
  return measureInTurn(ROUNDS, Object.fromEntries(sides));
}

function describeSpeed(
  names: readonly string[],
  times: Readonly<Record<string, readonly number[]>>,
): Section {
  const describe = (name: string, what: string, { blocks, blockBytes }: Load) => {
    const [ms, base] = [name, RAW].map((side) => times[keyOf(side, what)] ?? []) as [number[], number[]];
    const rate = (blocks * blockBytes) / 1000 / quantile(ms, 0.5);
    return `${rate.toFixed(0)} MB/s (${quantile(ratiosOf(base, ms), 0.5).toFixed(2)})`;
  };
  return {
    title: "Speed of the device of an image, beside a raw one on the same filesystem",
    header: ["image", ...Object.keys(LOADS)],
    rows: names.map((name) => [
      name,
      ...Object.entries(LOADS).map(([what, load]) => describe(name, what, load)),
    ]),
  };
}

function keyOf(target: string, what: string): string {
  return `${target}: ${what}`;
}

function attachRaw(bed: Bed, ending: DisposableStack): Target {
  const path = join(bed.directory, "location/raw");
  runProgram({ argv: ["truncate", "-s", String(SIZE_BYTES), path] });
  ending.defer(() => rmSync(path));
  return { device: attachLoop(path, ending), files: [path] };
}

function attachVolume(bed: Bed, ending: DisposableStack): Target {
  const run = (...words: string[]) => runProgram(moctlRun(bed, ...words)).stdout;
  run("create", "disk", "speed", String(SIZE_BYTES));
  ending.defer(() => run("drop", "speed"));
  const { device } = JSON.parse(run("attach", "speed", "--json")) as { device: string };
  ending.defer(() => run("detach", "speed"));
  const shown = readFileSync(`/sys/block/${basename(device)}/loop/backing_file`, "utf8").trim();
  const image = bed.backend === "ploop" ? "speed/root.hds" : "speed";
  return { device, files: [shown, join(bed.directory, "location", image)] };
}

function attachMode(bed: Bed, mode: string, options: object, ending: DisposableStack): Target {
  const name = mode.replaceAll(/[, ]+/g, "-");
  const shown = makeExported(bed.directory, name, SIZE_BYTES, options);
  ending.defer(() => endExported(shown));
  return { device: attachLoop(shown.path, ending), files: [shown.path, shown.image] };
}

function attachLoop(path: string, ending: DisposableStack): string {
  const device = runProgram({ argv: ["losetup", "--find", "--show", path] }).stdout.trim();
  ending.defer(() => runProgram({ argv: ["losetup", "--detach", device] }));
  return device;
}

/** So that each block has its place on the disk. */
function fill({ device }: Target): void {
  const size = ["bs=1M", `count=${SIZE_BYTES / 1024 ** 2}`];
  runProgram({ argv: ["dd", "if=/dev/zero", `of=${device}`, ...size, "oflag=direct", "conv=fsync"] });
}
