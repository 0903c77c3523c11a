import { MosaicError } from "../base/errors.ts";
import { BTRFS_MAGIC, measureUse } from "../system/btrfs.ts";
import { canShareBlocks } from "../system/reflink.ts";
import { queryTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import type { Location } from "./location.ts";

/** What a directory with all that is in it takes, in bytes; `exclusiveBytes` is null where files may share blocks unseen. */
export interface TreeUse {
  readonly allocatedBytes: number;
  readonly exclusiveBytes: number | null;
}

/** Measures a directory tree, without what is mounted in it. */
export async function measureTree(steps: Steps, location: Location, path: string): Promise<TreeUse> {
  if (location.filesystemMagic === BTRFS_MAGIC) return measureUse(steps, path);
  const args = ["--summarize", "--block-size=1", "--one-file-system", "--", path];
  const { stdout } = await queryTool(steps, "du", args);
  const digits = /^(\d+)\t/.exec(stdout)?.[1];
  if (digits === undefined) throw new MosaicError("TOOL_FAILED", "cannot read the answer of du", { stdout });
  const allocatedBytes = Number(digits);
  const mayShare = canShareBlocks(location.fd, location.filesystemMagic);
  return { allocatedBytes, exclusiveBytes: mayShare ? null : allocatedBytes };
}
