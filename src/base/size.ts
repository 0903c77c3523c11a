import { MosaicError, quote } from "./errors.ts";

const UNITS = ["", "K", "M", "G", "T"] as const;

/**
 * The bytes in a text such as "512M": a whole number with K, M, G or T in either case, powers of 1024, or without. Throws
 * INVALID_ARGUMENT.
 * @example
 *   const sizeBytes = parseSize("512M"); // 536870912
 *   await mosaic.createVolume("web", { kind: "fs", sizeBytes });
 */
export function parseSize(text: string): number {
  const match = /^(\d+)([KMGT]?)$/i.exec(text);
  if (!match)
    throw invalidSize(text, "expected a whole number with K, M, G, T or nothing after it, such as 512M");
  const power = (UNITS as readonly string[]).indexOf((match[2] ?? "").toUpperCase());
  const sizeBytes = Number(match[1]) * 1024 ** power;
  if (!Number.isSafeInteger(sizeBytes)) throw invalidSize(text, "it is larger than 8191T");
  if (sizeBytes === 0) throw invalidSize(text, "a size is at least 1");
  return sizeBytes;
}

/**
 * A size for people: in the largest unit that it fills, with one decimal where that is not exact.
 * @example console.log(formatSize(536870912), formatSize(1500 * 1024 ** 2)); // 512M 1.5G
 */
export function formatSize(sizeBytes: number): string {
  let power = 0;
  while (power < UNITS.length - 1 && sizeBytes >= 1024 ** (power + 1)) power++;
  const isRoundedUp = power < UNITS.length - 1 && (sizeBytes / 1024 ** power).toFixed(1) === "1024.0";
  if (isRoundedUp) return `1${UNITS[power + 1]}`;
  const value = sizeBytes / 1024 ** power;
  return `${Number.isInteger(value) ? value : value.toFixed(1)}${UNITS[power]}`;
}

function invalidSize(text: string, why: string): MosaicError {
  return new MosaicError("INVALID_ARGUMENT", `Invalid size ${quote(text.slice(0, 40))}: ${why}`, {
    size: text.slice(0, 40),
  });
}
