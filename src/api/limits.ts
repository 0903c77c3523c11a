import type { Limits } from "../backends/backend.ts";
import { MosaicError } from "../base/errors.ts";
import { formatSize } from "../base/size.ts";
import type { FilesystemName } from "../filesystems/registry.ts";
import type { Kind, VolumeRecord } from "../location/record.ts";

/** Throws UNSUPPORTED for a kind that the backend has not, INVALID_ARGUMENT for a size that cannot be. */
export function requirePossible(record: VolumeRecord, limits: Limits): void {
  requireKind(record.backend, record.kind, limits);
  const { sizeBytes } = record;
  if (sizeBytes !== null && !(Number.isSafeInteger(sizeBytes) && sizeBytes > 0)) {
    throw invalid(`invalid size ${sizeBytes}: a size is a whole number of bytes`, {
      sizeBytes: String(sizeBytes),
    });
  }
  if (limits.sizeIsEnforced) requireSize(record, limits);
}

/** Throws UNSUPPORTED for a kind that the backend has not. */
export function requireKind(backend: string, kind: Kind, { kinds }: Limits): void {
  if (kinds.includes(kind)) return;
  const message = `a ${backend} volume cannot be a ${kind}: expected ${kinds.join(" or ")}`;
  throw new MosaicError("UNSUPPORTED", message, { kind, kinds });
}

function requireSize({ backend, sizeBytes, filesystem }: VolumeRecord, limits: Limits): void {
  const { sizeStepBytes, filesystems } = limits;
  if (sizeBytes === null)
    throw invalid(`a ${backend} volume needs a size, such as 512M`, { missing: "size" });
  if (sizeBytes % sizeStepBytes !== 0) {
    const next = Math.ceil(sizeBytes / sizeStepBytes) * sizeStepBytes;
    const rule = `sizes here are multiples of ${sizeStepBytes} bytes; the next is ${next}`;
    throw invalid(`invalid size ${sizeBytes}: ${rule}`, { sizeBytes, sizeStepBytes });
  }
  const minimumBytes = filesystems[filesystem as FilesystemName] ?? sizeStepBytes;
  if (sizeBytes >= minimumBytes) return;
  const rule = `${filesystem} needs at least ${formatSize(minimumBytes)}`;
  throw invalid(`invalid size ${formatSize(sizeBytes)}: ${rule}`, { sizeBytes, minimumBytes });
}

function invalid(message: string, details: Readonly<Record<string, unknown>>): MosaicError {
  return new MosaicError("INVALID_ARGUMENT", message, details);
}
