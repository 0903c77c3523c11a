import { MosaicError, quote } from "../../base/errors.ts";
import { readTable, readTargetStatus } from "../../system/devicemapper.ts";
import type { PoolHealth, PoolLimits } from "../backend.ts";
import { nodeOf, type Pool } from "./pool.ts";

// How well a pool is. Whatever needs it looks here first, so that nobody waits for a pool that cannot answer.

const METADATA_BLOCK_BYTES = 4096;
/** With as little metadata left the kernel changes nothing more: a quarter of it, or this; dm-thin.c. */
const METADATA_RESERVE_BYTES = 1024 * METADATA_BLOCK_BYTES;

/** What the kernel says of a pool. */
export interface PoolStatus extends PoolHealth {
  readonly transaction: number;
  /** Whether a snapshot of the metadata is reserved, which only one can be. */
  readonly hasSnapshot: boolean;
  /** The words of the kernel. */
  readonly words: string;
}

/** What the kernel says of a pool, without waiting for what it has to write. */
export function readPoolStatus({ number, blockBytes }: Pick<Pool, "number" | "blockBytes">): PoolStatus {
  const words = readTargetStatus({ number })[0]?.words ?? [];
  const [transaction, metadata = "", data = "", root = "-"] = words;
  const [usedMetadata = 0, allMetadata = 0] = metadata.split("/").map(Number);
  const [usedData = 0, allData = 0] = data.split("/").map(Number);
  const isReadable = allMetadata > 0 && allData > 0;
  const bytes = (blocks: number, each: number) => (isReadable ? blocks * each : 0);
  return {
    mode: isReadable ? readMode(words) : "failed",
    needsCheck: words.includes("needs_check"),
    transaction: isReadable ? Number(transaction) : 0,
    dataBytes: bytes(allData, blockBytes),
    usedDataBytes: bytes(usedData, blockBytes),
    metadataBytes: bytes(allMetadata, METADATA_BLOCK_BYTES),
    usedMetadataBytes: bytes(usedMetadata, METADATA_BLOCK_BYTES),
    hasSnapshot: root !== "-",
    words: words.join(" "),
  };
}

/** How well a pool is that is maybe not active. */
export function describeHealth(pool: Pool | undefined): PoolHealth {
  if (!pool) return INACTIVE;
  const { hasSnapshot, words, ...health } = readPoolStatus(pool);
  return health;
}

const INACTIVE: PoolHealth = {
  mode: "inactive",
  needsCheck: false,
  transaction: 0,
  dataBytes: 0,
  usedDataBytes: 0,
  metadataBytes: 0,
  usedMetadataBytes: 0,
};

/** Throws DAMAGED when a pool cannot be changed before it is repaired, NO_SPACE when its metadata is too full for that. */
export function requireSound(pool: Pool): PoolStatus {
  const status = requireReadable(pool);
  if (status.needsCheck) throw sick(pool, status, `needs a check of its metadata: ${mend(pool)}`);
  if (status.mode !== "ro") return status;
  const { metadataBytes, usedMetadataBytes } = status;
  if (metadataBytes - usedMetadataBytes <= Math.min(METADATA_RESERVE_BYTES, metadataBytes / 4))
    throw metadataFull(pool, status);
  const why = readTable(pool)[0]?.words.includes("read_only")
    ? `was made active read-only: load its table without the word read_only (dmsetup load ${pool.name}, dmsetup resume ${pool.name})`
    : `is read-only, because its metadata could not be written: ${mend(pool)}`;
  throw sick(pool, status, why);
}

/** Throws DAMAGED when a pool has failed: then nothing can be read from it. */
export function requireReadable(pool: Pool): PoolStatus {
  const status = readPoolStatus(pool);
  if (status.mode !== "failed") return status;
  throw sick(pool, status, `has failed (${status.words || "no status"}): ${mend(pool)}`);
}

/** As `requireSound`, and throws NO_SPACE when whatever needs a new block of the pool waits or fails. */
export function requireWritable(pool: Pool): PoolStatus {
  const status = requireSound(pool);
  if (status.mode !== "out-of-data-space") return status;
  const message = `the thin pool ${quote(pool.name)} is full, and what is written to its volumes waits or is lost: drop volumes, or make its data device larger and load its table anew; to read, mount read-only`;
  throw new MosaicError("NO_SPACE", message, { pool: pool.name, part: "data", status: status.words });
}

/** As `requireWritable`, and throws NO_SPACE above the limits: then nothing more is made or grown. */
export function requireRoom(pool: Pool, limits: PoolLimits): PoolStatus {
  const status = requireWritable(pool);
  const [over] = listOverLimits(status, limits);
  if (!over) return status;
  const { part, percent, limit } = over;
  const message = `the thin pool ${quote(pool.name)} has used ${percent.toFixed(0)} % of its ${part}, and the limit is ${limit} %: drop volumes, or make its ${part} device larger`;
  throw new MosaicError("NO_SPACE", message, { pool: pool.name, part, percent, limit });
}

/** Of what a pool has used more than the limits say. */
export function listOverLimits(status: PoolHealth, limits: PoolLimits) {
  const uses = [
    { part: "data", percent: (status.usedDataBytes / status.dataBytes) * 100, limit: limits.data },
    {
      part: "metadata",
      percent: (status.usedMetadataBytes / status.metadataBytes) * 100,
      limit: limits.metadata,
    },
  ] as const;
  return uses.filter(({ percent, limit }) => percent >= limit);
}

function readMode(words: readonly string[]): PoolHealth["mode"] {
  if (words.includes("out_of_data_space")) return "out-of-data-space";
  return words.includes("rw") ? "rw" : "ro";
}

function mend({ name, metadata }: Pool): string {
  const device = nodeOf(metadata);
  return `copy what its volumes hold (mount them read-only), detach them, deactivate it (dmsetup remove ${name}), then thin_check --clear-needs-check-flag ${device}, and where that finds damage thin_repair -i ${device} -o DEVICE`;
}

function sick({ name }: Pool, { words }: PoolStatus, why: string): MosaicError {
  return new MosaicError("DAMAGED", `the thin pool ${quote(name)} ${why}`, { pool: name, status: words });
}

function metadataFull({ name }: Pool, { words }: PoolStatus): MosaicError {
  const message = `the metadata of the thin pool ${quote(name)} is full, so nothing can be changed in it: make its metadata device larger, then load its table anew (dmsetup suspend ${name}, dmsetup load ${name}, dmsetup resume ${name})`;
  return new MosaicError("NO_SPACE", message, { pool: name, part: "metadata", status: words });
}
