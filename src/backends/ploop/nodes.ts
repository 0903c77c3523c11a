import type { Kind } from "../../location/record.ts";
import type { BlockNode, LayeredNode, Window } from "../../system/storagedaemon.ts";
import { type Disk, windowOf } from "./disk.ts";
import type { Delta } from "./header.ts";

/** The nodes of a volume, as the storage daemon has them. */
export function describeLayers(disk: Disk, kind: Kind, readOnly: boolean): LayeredNode {
  return layFiles(
    disk.deltas.map(({ path }) => path),
    windowOf(disk, kind),
    readOnly,
  );
}

/** The nodes of images, the one that is written first. */
export function layFiles(paths: readonly string[], window: Window, readOnly: boolean): LayeredNode {
  const layers = paths.map((path, index) => describeDelta({ path }, readOnly || index > 0)).reverse();
  const named = layers.map((layer, index) => ({ ...layer, "node-name": `image${index}` }));
  return { layers: named, window, "read-only": readOnly };
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

function describeDelta({ path }: Pick<Delta, "path">, readOnly: boolean): BlockNode {
  const rules = { "read-only": readOnly, discard: "unmap" } as const;
  return { driver: "parallels", ...rules, file: { driver: "file", filename: path, ...rules } };
}
