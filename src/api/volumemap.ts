import { type Bre, BreSyntaxError, parseBre } from "../base/bre.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { parseStoredName, type StoredName, type VolumeName } from "../base/names.ts";

/** The rule from the name that users say to the stored name. */
export interface VolumeMap {
  /** The stored name for a name. Throws INVALID_ARGUMENT when the map does not match or gives no name. */
  map(name: VolumeName): StoredName;
  /** Whether every name is its own stored name. */
  readonly isIdentity: boolean;
}

/** A fault in the text of a volume map, at a character counted from 0. */
export class VolumeMapError extends Error {
  constructor(
    message: string,
    readonly position: number,
  ) {
    super(message);
  }
}

/** The map of a config without one: every name is its own stored name. */
export const identityMap: VolumeMap = { map: (name) => parseStoredName(name), isIdentity: true };

/** The map in a text of two words, a POSIX basic regular expression and its replacement. Throws VolumeMapError. */
export function parseVolumeMap(text: string): VolumeMap {
  const words = [...text.matchAll(/\S+/g)];
  const [pattern, replacement] = words;
  if (!pattern || !replacement || words.length > 2) {
    throw new VolumeMapError(
      `expected two words, REGEX and REPLACEMENT, found ${words.length}`,
      words[2]?.index ?? 0,
    );
  }
  const bre = parseBreAt(pattern[0], pattern.index);
  const parts = parseReplacement(replacement[0], replacement.index, bre.groups);
  return { map: (name) => mapName(bre, pattern[0], parts, name), isIdentity: false };
}

/** Text, or the number of a group. */
type ReplacementPart = string | number;

function mapName(bre: Bre, pattern: string, parts: readonly ReplacementPart[], name: VolumeName): StoredName {
  const match = bre.search(name);
  if (!match) {
    throw new MosaicError(
      "INVALID_ARGUMENT",
      `The volume map does not match the name ${quote(name)}: it asks for ${quote(pattern)}`,
      { name, pattern },
    );
  }
  return parseStoredName(
    parts.map((part) => (typeof part === "number" ? (match[part] ?? "") : part)).join(""),
    name,
  );
}

function parseBreAt(pattern: string, offset: number): Bre {
  try {
    return parseBre(pattern);
  } catch (thrown) {
    if (!(thrown instanceof BreSyntaxError)) throw thrown;
    throw new VolumeMapError(`in the regular expression: ${thrown.message}`, offset + thrown.position);
  }
}

function parseReplacement(text: string, offset: number, groups: number): ReplacementPart[] {
  const parts: ReplacementPart[] = [];
  for (let index = 0; index < text.length; index++) {
    const char = text[index] ?? "";
    if (char !== "\\") {
      parts.push(char);
      continue;
    }
    const escaped = text[++index] ?? "";
    if (!/[1-9]/.test(escaped))
      throw new VolumeMapError(
        `expected \\1 to \\9 in the replacement, found "\\${escaped}"`,
        offset + index - 1,
      );
    if (Number(escaped) > groups)
      throw new VolumeMapError(
        `the replacement has \\${escaped}, but the expression has ${groups} groups`,
        offset + index - 1,
      );
    parts.push(Number(escaped));
  }
  return parts;
}
