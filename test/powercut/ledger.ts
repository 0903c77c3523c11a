// What a worker said before a power cut, and what must therefore be there after it.

/** What is known of a volume; `sum` is that of its data, null when it is not known or nothing was written. */
export interface Known {
  readonly kind: "fs" | "disk";
  readonly sizeBytes: number | null;
  readonly sum: string | null;
}

/** One change of a volume. */
export type Change =
  | { readonly op: "create"; readonly volume: string; readonly known: Known }
  | { readonly op: "clone"; readonly volume: string; readonly origin: string }
  | { readonly op: "drop"; readonly volume: string }
  | { readonly op: "resize"; readonly volume: string; readonly sizeBytes: number }
  | { readonly op: "write"; readonly volume: string; readonly sum: string };

/** The volumes of a mosaic by name. */
export type Volumes = ReadonlyMap<string, Known>;

/** A line of a worker's output: all volumes of a mosaic as they were found, or a change that begins or is answered. */
export type Line =
  | { readonly at: string; readonly found: readonly (readonly [string, Known])[] }
  | { readonly at: string; readonly number: number; readonly begins: Change }
  | { readonly at: string; readonly number: number; readonly answered: true };

/** What is certain of a mosaic, and the changes that were never answered, which may have happened or not. */
export interface Expectation {
  readonly certain: Volumes;
  readonly open: readonly Change[];
}

/** What the lines say of one mosaic. */
export function readLedger(lines: readonly Line[], at: string): Expectation {
  let certain: Volumes = new Map();
  const open = new Map<number, Change>();
  for (const line of lines.filter((candidate) => candidate.at === at)) {
    if ("found" in line) {
      certain = new Map(line.found);
      open.clear();
    } else if ("begins" in line) open.set(line.number, line.begins);
    else {
      const change = open.get(line.number);
      open.delete(line.number);
      if (change) certain = applyChange(certain, change);
    }
  }
  return { certain, open: [...open.values()] };
}

/** The volumes after a change. */
export function applyChange(volumes: Volumes, change: Change): Volumes {
  const after = new Map(volumes);
  const known = volumes.get(change.op === "clone" ? change.origin : change.volume);
  if (change.op === "create") after.set(change.volume, change.known);
  else if (change.op === "drop") after.delete(change.volume);
  else if (known === undefined) throw new Error(`a change of what is not there: ${JSON.stringify(change)}`);
  else if (change.op === "clone") after.set(change.volume, known);
  else if (change.op === "resize") after.set(change.volume, { ...known, sizeBytes: change.sizeBytes });
  else after.set(change.volume, { ...known, sum: change.sum });
  return after;
}

/**
 * What is known now of the volumes that were found with these sizes. Throws when one that is certain is missing, when one
 * is there that nobody made, or when one has a size that it was not given.
 */
export function settle(
  { certain, open }: Expectation,
  found: ReadonlyMap<string, number | null>,
): Map<string, Known> {
  const possible = open.reduce(applyChange, certain);
  const mayBeGone = new Set(open.flatMap((change) => (change.op === "drop" ? [change.volume] : [])));
  for (const name of certain.keys())
    if (!found.has(name) && !mayBeGone.has(name)) throw new Error(`the volume ${name} is lost`);
  return new Map([...found].map(([name, sizeBytes]) => [name, settleOne(name, sizeBytes)]));

  function settleOne(name: string, sizeBytes: number | null): Known {
    const candidates = [certain.get(name), possible.get(name)].filter((known) => known !== undefined);
    const known = candidates.find((candidate) => candidate.sizeBytes === sizeBytes);
    if (candidates.length === 0) throw new Error(`nobody made the volume ${name}`);
    if (!known) throw new Error(`${name} has ${sizeBytes} bytes, expected ${JSON.stringify(candidates)}`);
    const isWritten = open.some((change) => change.op === "write" && change.volume === name);
    return isWritten ? { ...known, sum: null } : known;
  }
}
