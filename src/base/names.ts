import { MosaicError, quote } from "./errors.ts";

declare const volumeName: unique symbol;
declare const storedName: unique symbol;

/** A volume's name as users say it, checked. It can be used as a text; a text cannot be used as one. */
export type VolumeName = string & { readonly [volumeName]: true };

/** Where a volume lies below the location: a checked relative path; only `parseStoredName` makes one. It can be used as a text. */
export type StoredName = string & { readonly [storedName]: true };

/** The longest name in bytes; a record with two names of this length still fits one attribute. */
export const NAME_MAX_BYTES = 255;
const COMPONENT_MAX_BYTES = 128;
const DEPTH_MAX = 8;
const COMPONENT = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** The rule for names as data: bytes, groups between slashes, and what each group matches. */
export const NAME_LIMITS = {
  maxBytes: NAME_MAX_BYTES,
  groupMaxBytes: COMPONENT_MAX_BYTES,
  maxGroups: DEPTH_MAX,
  groupPattern: COMPONENT.source,
} as const;

/** The rule for names in one sentence, for messages and documents. */
export const NAME_RULE =
  "a name has letters, digits, '.', '_' and '-', starts with a letter or digit, may be grouped by '/', " +
  `and is at most ${NAME_MAX_BYTES} bytes long (${COMPONENT_MAX_BYTES} between slashes, ${DEPTH_MAX} groups)`;

/** The volume name in `text`. Throws INVALID_ARGUMENT that says which character or length is wrong. */
export function parseVolumeName(text: string): VolumeName {
  const fault = findNameFault(text);
  if (fault) throw invalidName(`Invalid volume name ${quote(shorten(text))}`, text, fault);
  return text as VolumeName;
}

/** The stored name in `text`, the result of a volume map for `said`. Throws INVALID_ARGUMENT. */
export function parseStoredName(text: string, said: string = text): StoredName {
  const fault = findNameFault(text);
  if (fault) {
    const origin = said === text ? "" : `, which the volume map makes of ${quote(said)}`;
    throw invalidName(`Invalid stored name ${quote(shorten(text))}${origin}`, text, fault);
  }
  return text as StoredName;
}

/** Whether a directory entry can be (a part of) a stored name. */
export function isNameComponent(text: string): boolean {
  return findComponentFault(text) === undefined;
}

/** Whether the text can be a stored name. */
export function isName(text: string): boolean {
  return findNameFault(text) === undefined;
}

function invalidName(what: string, text: string, fault: string): MosaicError {
  return new MosaicError("INVALID_ARGUMENT", `${what}: ${fault}; ${NAME_RULE}`, {
    name: shorten(text),
    fault,
  });
}

function findNameFault(text: string): string | undefined {
  if (text === "") return "it is empty";
  const bytes = Buffer.byteLength(text);
  if (bytes > NAME_MAX_BYTES) return `it has ${bytes} bytes`;
  if (text.startsWith("/")) return "it starts with '/'";
  const components = text.split("/");
  if (components.length > DEPTH_MAX) return `it has ${components.length} groups`;
  return components.map(findComponentFault).find((fault) => fault !== undefined);
}

function findComponentFault(component: string): string | undefined {
  if (component === "") return "there is nothing between two slashes or after the last";
  if (component === "." || component === "..") return `${quote(component)} is not a name`;
  if (component.startsWith("-")) return "'-' in front would read as an option";
  if (component.length > COMPONENT_MAX_BYTES) return `a part of it has ${component.length} bytes`;
  if (component.endsWith(".tmp")) return "the ending '.tmp' is reserved for unfinished files";
  if (COMPONENT.test(component)) return undefined;
  const bad = [...component].find((char, index) => !COMPONENT.test(index === 0 ? char : `a${char}`));
  return `the character ${quote(bad ?? component)} is not allowed${component.startsWith(bad ?? "") ? " there" : ""}`;
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
