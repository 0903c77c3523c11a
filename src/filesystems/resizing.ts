import { MosaicError } from "../base/errors.ts";
import { formatSize } from "../base/size.ts";
import type { Filesystem } from "./filesystem.ts";

/** The filesystem of a volume of `currentBytes` that becomes smaller. Throws UNSUPPORTED where it cannot, INVALID_ARGUMENT where it was not allowed. */
export function requireShrinkable(
  name: string,
  filesystem: Filesystem | undefined,
  currentBytes: number,
  sizeBytes: number,
  isAllowed: boolean,
): Filesystem {
  const details = { name, sizeBytes };
  if (!filesystem?.resizeCopy) {
    const why = filesystem
      ? `${filesystem.name} cannot shrink: make a smaller volume and copy the files`
      : "it is a disk, and how much of it is used is not known here";
    throw new MosaicError("UNSUPPORTED", `it cannot become smaller: ${why}`, details);
  }
  if (!isAllowed) {
    const message = `it has ${formatSize(currentBytes)}, and becomes smaller only with --shrink`;
    throw new MosaicError("INVALID_ARGUMENT", message, details);
  }
  requireResizable(name, filesystem, sizeBytes);
  return filesystem;
}

/** Throws INVALID_ARGUMENT for a size that the filesystem cannot be given later. */
export function requireResizable(name: string, filesystem: Filesystem | undefined, sizeBytes: number): void {
  const minimumBytes = Math.max(filesystem?.minimumBytes ?? 0, filesystem?.resizeMinimumBytes ?? 0);
  if (sizeBytes >= minimumBytes) return;
  const message = `invalid size ${formatSize(sizeBytes)}: ${filesystem?.name} can be resized to ${formatSize(minimumBytes)} or more`;
  throw new MosaicError("INVALID_ARGUMENT", message, { name, sizeBytes, minimumBytes });
}
