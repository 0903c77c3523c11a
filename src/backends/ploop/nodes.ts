import type { Kind } from "../../location/record.ts";
import type { Steps } from "../../system/steps.ts";
import type { BlockNode, LayeredNode } from "../../system/storagedaemon.ts";
import { type Disk, readDisk, windowOf } from "./disk.ts";
import type { Delta } from "./header.ts";

/** The nodes of a volume, as the storage daemon has them. */
export function describeLayers(disk: Disk, kind: Kind, readOnly: boolean): LayeredNode {
  const layers = disk.deltas.map((delta, index) => describeDelta(delta, readOnly || index > 0));
  const named = layers.reverse().map((layer, index) => ({ ...layer, "node-name": `image${index}` }));
  return { layers: named, window: windowOf(disk, kind), "read-only": readOnly };
}

/** A volume as a tool of QEMU takes it as the name of an image, after `json:`. */
export function describeNested(disk: Disk, kind: Kind, readOnly: boolean): Record<string, unknown> {
  const [top, ...below] = disk.deltas;
  const lower = below.reduceRight<object | undefined>(
    (backing, delta) => nest(delta, true, backing),
    undefined,
  );
  return { driver: "raw", "read-only": readOnly, ...windowOf(disk, kind), file: nest(top, readOnly, lower) };
}

function nest(delta: Delta, readOnly: boolean, backing: object | undefined): object {
  return { ...describeDelta(delta, readOnly), ...(backing && { backing }) };
}

function describeDelta({ path }: Delta, readOnly: boolean): BlockNode {
  const rules = { "read-only": readOnly, discard: "unmap" } as const;
  return { driver: "parallels", ...rules, file: { driver: "file", filename: path, ...rules } };
}

/** The nodes of a disk of kind fs that is being made; in a plan it is not there. */
export function describeStaged(steps: Steps, path: string, readOnly: boolean): LayeredNode {
  if (!steps.planning) return describeLayers(readDisk(path), "fs", readOnly);
  return { layers: [], window: { offset: 0 }, "read-only": readOnly };
}
