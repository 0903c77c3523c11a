import { MosaicError, quote } from "../../base/errors.ts";

/** UNSUPPORTED for a file that moctl does not take, and why. */
export function refused(path: string, why: string): MosaicError {
  return new MosaicError("UNSUPPORTED", `${quote(path)} cannot be used: ${why}`, { path, why });
}
