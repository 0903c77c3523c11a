import type { Store } from "../../location/store.ts";
import type { PoolLimits } from "../backend.ts";
import type { Pool } from "./pool.ts";

/** What the parts of the backend share: the location is the directory of the objects. */
export interface ThinStore extends Store {
  /** The directory that holds the ledger, the objects, and what says where the metadata is. */
  readonly statePath: string;
  readonly limits: PoolLimits;
  /** The pool as it is now; undefined when it is not active. */
  findPool(): Pool | undefined;
  /** The pool, made active where the config says its devices. Throws UNAVAILABLE, DAMAGED. */
  openPool(): Promise<Pool>;
}
