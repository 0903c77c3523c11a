import { MosaicError } from "../base/errors.ts";

/** Runs a tool and says whether the tool itself failed; every other error is thrown. */
export async function hasFailed(run: () => Promise<unknown>): Promise<boolean> {
  try {
    await run();
    return false;
  } catch (thrown) {
    if (thrown instanceof MosaicError && thrown.code === "TOOL_FAILED" && thrown.details.exitCode !== null)
      return true;
    throw thrown;
  }
}

/** Throws TOOL_FAILED when a filesystem is larger than a tool made it: what lies beyond would be cut off. */
export function requireNoMore(filesystem: string, foundBytes: number, sizeBytes: number): void {
  if (foundBytes <= sizeBytes) return;
  const message = `the ${filesystem} filesystem has ${foundBytes} bytes after it was made ${sizeBytes}`;
  throw new MosaicError("TOOL_FAILED", message, { sizeBytes, foundBytes });
}
