import type { Backend, Limits } from "../backends/backend.ts";
import { MosaicError } from "../base/errors.ts";
import { NAME_LIMITS } from "../base/names.ts";
import { formatSize } from "../base/size.ts";
import type { FilesystemName } from "../filesystems/registry.ts";
import type { Kind, VolumeRecord } from "../location/record.ts";
import type { Feature, MosaicLimits } from "./results.ts";

/** What a backend can do, read off its members. */
export function listFeatures({ clone, block, resize }: Backend): Feature[] {
  return [
    ...(clone ? ["clone" as const] : []),
    ...(block ? ["bdev" as const] : []),
    ...(resize ? ["volsize" as const] : []),
  ];
}

/** What volumes of a backend can be, and the rule for names. */
export function describeLimits({ limits, resize }: Backend): MosaicLimits {
  const { sizeStepBytes: sizeMinBytes, ...rest } = limits;
  return {
    ...rest,
    sizeStepBytes: sizeMinBytes,
    sizeMinBytes,
    sizesAreKept: resize !== undefined,
    names: NAME_LIMITS,
  };
}

/** Throws UNSUPPORTED for a kind that the backend has not, INVALID_ARGUMENT for a size that cannot be. */
export function requirePossible(record: VolumeRecord, limits: Limits, sizesAreKept: boolean): void {
  requireKind(record.backend, record.kind, limits);
  const { sizeBytes } = record;
  if (sizeBytes !== null && !(Number.isSafeInteger(sizeBytes) && sizeBytes > 0)) {
    throw invalid(`invalid size ${sizeBytes}: a size is a whole number of bytes`, {
      sizeBytes: String(sizeBytes),
    });
  }
  if (sizeBytes === null && limits.sizeIsRequired)
    throw invalid(`a ${record.backend} volume needs a size, such as 512M`, { missing: "size" });
  if (sizeBytes !== null && sizesAreKept) requireSize(record.filesystem, sizeBytes, limits);
}

/** Throws UNSUPPORTED for a kind that the backend has not. */
export function requireKind(backend: string, kind: Kind, { kinds }: Limits): void {
  if (kinds.includes(kind)) return;
  const message = `a ${backend} volume cannot be a ${kind}: expected ${kinds.join(" or ")}`;
  throw new MosaicError("UNSUPPORTED", message, { kind, kinds });
}

/** Throws INVALID_ARGUMENT for a size that a volume with this filesystem inside cannot have. */
export function requireSize(filesystem: string | null, sizeBytes: number, limits: Limits): void {
  const { sizeStepBytes, sizeMaxBytes, filesystems } = limits;
  if (sizeBytes % sizeStepBytes !== 0) {
    const next = Math.ceil(sizeBytes / sizeStepBytes) * sizeStepBytes;
    const rule = `sizes here are multiples of ${sizeStepBytes} bytes; the next is ${next}`;
    throw invalid(`invalid size ${sizeBytes}: ${rule}`, { sizeBytes, sizeStepBytes });
  }
  if (sizeBytes > sizeMaxBytes) {
    const rule = `the largest here is ${sizeMaxBytes} bytes (${formatSize(sizeMaxBytes)})`;
    throw invalid(`invalid size ${formatSize(sizeBytes)}: ${rule}`, { sizeBytes, sizeMaxBytes });
  }
  const minimumBytes = filesystems[filesystem as FilesystemName] ?? sizeStepBytes;
  if (sizeBytes >= minimumBytes) return;
  const rule = `${filesystem ?? "a volume"} needs at least ${formatSize(minimumBytes)}`;
  throw invalid(`invalid size ${formatSize(sizeBytes)}: ${rule}`, { sizeBytes, minimumBytes });
}

function invalid(message: string, details: Readonly<Record<string, unknown>>): MosaicError {
  return new MosaicError("INVALID_ARGUMENT", message, details);
}
