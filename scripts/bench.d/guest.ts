import { join } from "node:path";
import type { Ground } from "./ground.ts";
import { runProgram } from "./measure.ts";
import { hasThinPools } from "./pool.ts";
import type { Section } from "./table.ts";
import { measureThin, type ThinReport } from "./thin.ts";

/** What needs a kernel with thin pools: measured here or, where this one has none, in the virtual machine of scripts/guest. */
export async function measureGuest({ directory }: Ground): Promise<Section[]> {
  if (hasThinPools()) return measureThin(directory);
  const [guest, program] = ["../guest", "thin.ts"].map((name) => join(import.meta.dir, name)) as [
    string,
    string,
  ];
  const argv = [guest, process.execPath, program, "/scratch/bench"];
  const { stdout } = runProgram({ argv, environment: { TMPDIR: directory } });
  const { machine, sections } = JSON.parse(stdout) as ThinReport;
  return sections.map(({ title, ...section }) => ({ ...section, title: `${title}, on ${machine}` }));
}
