/** How deep a message may be nested. */
export const DEPTH_MAX = 64;

/** Whether a JSON value is nested too deep, found without recursion: a message may have a million levels. */
export function findJsonDepthFault(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > DEPTH_MAX) return true;
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item !== "object" || item === null) continue;
      for (const member of Array.isArray(item) ? item : Object.values(item))
        if (typeof member === "object" && member !== null) next.push(member);
    }
    level = next;
  }
  return false;
}
