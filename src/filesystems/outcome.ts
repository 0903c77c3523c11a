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
