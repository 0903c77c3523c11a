/** A volume after a change: its size in bytes, 0 where none is kept, undefined where it is not there. */
export interface Change {
  readonly kind: string;
  readonly name: string;
  readonly size: number | undefined;
}

/** What volumes can be after what is in a journal: what was answered last, or what was begun after that. */
export function readJournal(text: string) {
  const states = new Map<string, (number | undefined)[]>();
  // The last line may be cut off.
  for (const line of text.split("\n").slice(0, -1)) {
    const [word, kind, name, size] = line.split(" ");
    if (word !== "begin" && word !== "end") continue;
    const key = `${kind} ${name}`;
    const state = size === "absent" ? undefined : Number(size);
    states.set(key, word === "end" ? [state] : [...(states.get(key) ?? [undefined]), state]);
  }
  return { statesOf: (kind: string, name: string) => states.get(`${kind} ${name}`) ?? [undefined] };
}
