import { findStatus, listDirectory } from "../system/files.ts";

// Directories below /run that fill with entries, which nobody takes out: each call with a request key leaves one. Looking
// at all of them costs, so it is done seldom.

/** How long an entry is kept after its last change. */
const KEEP_MS = 24 * 3600 * 1000;
const LOOK_EVERY_MS = 60_000;

/** When this process last looked at a directory, and how many entries there are since, as far as it knows. */
const looks = new Map<string, { readonly atMs: number; count: number }>();

/**
 * Counts an entry that is about to come into a directory, and once a minute, or when there are more than `most`, gives
 * each one that is too old, or too many, to `forget`, the oldest first. An entry has a file "state", whose time counts.
 */
export function makeRoomFor(directory: string, most: number, forget: (name: string) => void): void {
  const last = looks.get(directory);
  const isRecent = last !== undefined && performance.now() - last.atMs < LOOK_EVERY_MS;
  if (isRecent && last.count < most) {
    last.count++;
    return;
  }
  const entries = listDirectory(directory).map((name) => ({ name, changedMs: findChange(directory, name) }));
  entries.sort((a, b) => a.changedMs - b.changedMs);
  // Some more than needed, so that the next ones do not look again.
  const tooMany = entries.length < most ? 0 : entries.length - Math.floor(0.9 * most);
  const oldest = Date.now() - KEEP_MS;
  const left = entries.filter(({ name, changedMs }, index) => {
    const isForgotten = index < tooMany || changedMs < oldest;
    if (isForgotten) forget(name);
    return !isForgotten;
  });
  looks.set(directory, { atMs: performance.now(), count: left.length + 1 });
}

function findChange(directory: string, name: string): number {
  const path = `${directory}/${name}`;
  return Number((findStatus(`${path}/state`) ?? findStatus(path))?.mtimeMs ?? 0);
}
