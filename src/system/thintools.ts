import { MosaicError } from "../base/errors.ts";
import { queryTool } from "./runner.ts";
import type { Steps } from "./steps.ts";

const LIST_DEADLINE_MS = 60_000;
const FORMAT = "DEV,MAPPED_BYTES,EXCLUSIVE_BYTES,TRANSACTION";
const QUICK_FORMAT = "DEV,TRANSACTION";

/** A thin device, as the metadata of its pool has it. */
export interface ThinDevice {
  readonly id: number;
  /** The transaction id that the pool had when it was made. */
  readonly transaction: number;
}

/** What a thin device takes of its pool, in bytes. */
export interface ThinUse extends ThinDevice {
  readonly mappedBytes: number;
  readonly exclusiveBytes: number;
}

/** The thin devices of a pool whose metadata snapshot is reserved: thin_ls(8). */
export async function listThinDevices(steps: Steps, metadata: string): Promise<ThinDevice[]> {
  const rows = await listFields(steps, metadata, QUICK_FORMAT);
  return rows.map(([id = 0, transaction = 0]) => ({ id, transaction }));
}

/** The same with what each takes; that reads all of the metadata. */
export async function measureThinDevices(steps: Steps, metadata: string): Promise<ThinUse[]> {
  const rows = await listFields(steps, metadata, FORMAT);
  return rows.map(([id = 0, mappedBytes = 0, exclusiveBytes = 0, transaction = 0]) => ({
    id,
    mappedBytes,
    exclusiveBytes,
    transaction,
  }));
}

/** Throws DAMAGED when the metadata of a pool that is not active is damaged: thin_check(8). */
export async function checkThinMetadata(steps: Steps, metadata: string): Promise<void> {
  try {
    await queryTool(steps, "thin_check", ["-q", metadata]);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "TOOL_FAILED") throw thrown;
    const message = `the pool's metadata on ${metadata} is damaged, or was never made: keep a copy of it, then thin_repair it onto another device: ${thrown.message}`;
    throw new MosaicError("DAMAGED", message, { ...thrown.details, device: metadata }, thrown);
  }
}

async function listFields(steps: Steps, metadata: string, format: string): Promise<number[][]> {
  const args = ["--metadata-snap", "--no-headers", "--format", format, metadata];
  const { stdout } = await queryTool(steps, "thin_ls", args, { deadlineMs: LIST_DEADLINE_MS });
  return stdout
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => line.trim().split(/\s+/).map(Number));
}
