import { MosaicError } from "../base/errors.ts";
import { checkRecord, type VolumeRecord } from "../location/record.ts";

/** The records in a saved answer of `list --json`. Throws INVALID_ARGUMENT when it is none. */
export function parseSavedList(list: unknown): VolumeRecord[] {
  const volumes = (list as { volumes?: unknown } | null)?.volumes;
  if (!Array.isArray(volumes))
    throw new MosaicError(
      "INVALID_ARGUMENT",
      "The saved list is not the answer of `list --json`: it has no list of volumes",
    );
  return volumes.map((entry, index) => {
    try {
      return checkRecord(entry as Record<string, unknown>);
    } catch (thrown) {
      throw new MosaicError(
        "INVALID_ARGUMENT",
        `Entry ${index + 1} of the saved list is no volume: ${(thrown as Error).message}`,
        { index },
        thrown,
      );
    }
  });
}
