import { MosaicError } from "../base/errors.ts";
import { formatSize } from "../base/size.ts";

/** Throws INVALID_ARGUMENT for a smaller size that was not allowed, TOOL_FAILED for one below what is used. */
export function requireAllowed(
  name: string,
  sizeBytes: number,
  limitBytes: number | null,
  usedBytes: number,
  shrink: boolean,
): void {
  if (limitBytes !== null && sizeBytes < limitBytes && !shrink) {
    const message = `it has ${formatSize(limitBytes)}, and becomes smaller only with --shrink`;
    throw new MosaicError("INVALID_ARGUMENT", message, { name, sizeBytes, limitBytes });
  }
  if (sizeBytes >= usedBytes) return;
  const message = `what it holds does not fit into ${formatSize(sizeBytes)}: the smallest size is ${usedBytes} bytes (${formatSize(usedBytes)})`;
  throw new MosaicError("TOOL_FAILED", message, { name, sizeBytes, smallestBytes: usedBytes });
}
