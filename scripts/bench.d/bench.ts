import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { measureActions } from "./actions.ts";
import { measureClone } from "./clone.ts";
import { measureCount } from "./count.ts";
import { Ground } from "./ground.ts";
import { measureGuest } from "./guest.ts";
import { measureImages } from "./images.ts";
import { describeMachine } from "./machine.ts";
import { measureMemory } from "./memory.ts";
import { measureRpc } from "./rpc.ts";
import { measureStart } from "./start.ts";
import { formatSection, type Section } from "./table.ts";

// Run by scripts/bench, which makes the directory and removes all that is left in it: DIRECTORY [--write] [PART ...]

/** The parts by name, in the order in which they run. Each makes the beds that it needs. */
const PARTS: Readonly<Record<string, (ground: Ground) => Section | Section[] | Promise<Section[]>>> = {
  start: measureStart,
  actions: measureActions,
  clone: measureClone,
  count: measureCount,
  memory: measureMemory,
  rpc: measureRpc,
  images: measureImages,
  guest: measureGuest,
};
const DOCUMENT = join(import.meta.dir, "../../doc/performance.md");
const MARKS = ["<!-- written by scripts/bench -->\n", "<!-- end of what scripts/bench wrote -->\n"] as const;

const [directory = "", ...words] = process.argv.slice(2);
const isWriting = words.includes("--write");
const chosen = words.filter((word) => word !== "--write");
const unknown = chosen.find((word) => !Object.hasOwn(PARTS, word));
if (unknown !== undefined || (isWriting && chosen.length > 0)) {
  console.error(`usage: scripts/bench [--write | PART ...]; the parts are ${Object.keys(PARTS).join(", ")}`);
  process.exit(2);
}

try {
  const found = await measureParts(new Ground(directory), chosen.length > 0 ? chosen : Object.keys(PARTS));
  if (isWriting) writeIntoDocument(found);
} catch (thrown) {
  console.error(`bench: ${(thrown as Error).message}`);
  process.exit(1);
}

async function measureParts(ground: Ground, names: readonly string[]): Promise<string> {
  const found = [describeMachine(directory)];
  console.log(found[0]);
  for (const [name, measurePart] of Object.entries(PARTS)) {
    if (!names.includes(name)) continue;
    for (const section of [await measurePart(ground)].flat()) {
      const text = formatSection(section);
      console.log(text);
      found.push(text);
    }
  }
  return found.join("\n").trimEnd();
}

function writeIntoDocument(found: string): void {
  const document = readFileSync(DOCUMENT, "utf8");
  const [begin, end] = MARKS.map((mark) => document.indexOf(mark));
  if (begin === undefined || end === undefined || begin < 0 || end < begin)
    throw new Error(`the document lacks its marks: ${MARKS.join("")}`);
  const before = document.slice(0, begin + MARKS[0].length);
  writeFileSync(DOCUMENT, `${before}\n${found}\n\n${document.slice(end)}`);
}
