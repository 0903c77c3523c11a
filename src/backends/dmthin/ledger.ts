import { MosaicError, quote } from "../../base/errors.ts";
import { identifyDevice } from "../../system/blockdevice.ts";
import { findText, replaceFile } from "../../system/durablefile.ts";
import type { Steps } from "../../system/steps.ts";
import { readPoolStatus } from "./health.ts";
import type { Pool } from "./pool.ts";

// The file `pool` ties the list of volumes to its pool: which devices the pool has, and its transaction id. Before each
// change it is written that the id goes from T to T + 1; then the pool's own id is one of the two, whenever the power goes.

const VERSION = 1;

/** What is known of the pool to which a list of volumes belongs. */
export interface Ledger {
  /** What the devices are, whatever their names are now; null where the kernel does not tell. */
  readonly metadata: string | null;
  readonly data: string | null;
  readonly blockBytes: number;
  /** The transaction id before the last change, and after it. */
  readonly transaction: number;
  readonly next: number;
}

/** The ledger of a state directory; undefined when there is none. Throws DAMAGED when it cannot be read. */
export function findLedger(statePath: string): Ledger | undefined {
  const path = ledgerPath(statePath);
  const text = findText(path);
  if (text === undefined) return undefined;
  try {
    const { version, ...ledger } = JSON.parse(text) as Ledger & { version: number };
    if (version === VERSION && Number.isSafeInteger(ledger.transaction) && Number.isSafeInteger(ledger.next))
      return ledger;
  } catch {}
  const message = `${quote(path)} cannot be read: restore the directory from a backup, or remove that file and say check --repair`;
  throw new MosaicError("DAMAGED", message, { path });
}

/** Writes that the next change takes the pool's transaction id from `transaction` to the next number. */
export function writeLedger(
  steps: Steps,
  statePath: string,
  pool: Pool,
  transaction: number,
  next: number = transaction + 1,
): Promise<void> {
  const ledger: Ledger = { ...identifyPool(pool), transaction, next };
  return replaceFile(steps, ledgerPath(statePath), `${JSON.stringify({ version: VERSION, ...ledger })}\n`);
}

/** Why a pool is not the one of the ledger, in words; undefined when it is. */
export function findMismatch(ledger: Ledger, pool: Pool, transaction: number): string | undefined {
  const now = identifyPool(pool);
  for (const part of ["metadata", "data"] as const) {
    if (ledger[part] !== null && now[part] !== null && ledger[part] !== now[part])
      return `its ${part} device is ${now[part]}, and was ${ledger[part]}: it is another pool`;
  }
  if (ledger.blockBytes !== now.blockBytes)
    return `its blocks have ${now.blockBytes} bytes, and had ${ledger.blockBytes}: it is another pool`;
  if (transaction === ledger.transaction || transaction === ledger.next) return undefined;
  return `its transaction id is ${transaction}, and the list of volumes is of ${ledger.next}`;
}

/** Throws DAMAGED when a pool is not the one of the ledger; who does not have the lock of the pool may ask, too. */
export function requireTie(statePath: string, pool: Pool): void {
  for (;;) {
    const { transaction } = readPoolStatus(pool);
    const ledger = findLedger(statePath);
    const why = ledger ? findMismatch(ledger, pool, transaction) : "there is no list";
    if (why === undefined) return;
    // Others may have made their changes between the two looks.
    if (readPoolStatus(pool).transaction === transaction) throw mismatchError(pool, statePath, why);
  }
}

/** As `requireTie`, but a pool that nobody has used needs no list, and of one that has failed there is only the list. */
export function requireList(statePath: string, pool: Pool): void {
  const { mode, transaction } = readPoolStatus(pool);
  const isNew = transaction === 0 && !findLedger(statePath);
  if (mode !== "failed" && !isNew) requireTie(statePath, pool);
}

/** DAMAGED for a pool and a list of volumes that do not belong together. */
export function mismatchError(pool: Pool, statePath: string, why: string): MosaicError {
  const message = `the thin pool ${quote(pool.name)} and the list of its volumes in ${quote(statePath)} do not belong together: ${why}; nothing is changed before check --repair, which shows both sides`;
  return new MosaicError("DAMAGED", message, { pool: pool.name, state: statePath, why });
}

function ledgerPath(statePath: string): string {
  return `${statePath}/pool`;
}

function identifyPool({
  metadata,
  data,
  blockBytes,
}: Pool): Pick<Ledger, "metadata" | "data" | "blockBytes"> {
  return { metadata: identifyDevice(metadata), data: identifyDevice(data), blockBytes };
}
