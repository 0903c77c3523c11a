import { syncPath, writeAttribute } from "../system/files.ts";
import { Deferred } from "./deferred.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import type { LockedVolume } from "./volumes.ts";

/** A change of a volume that its record tells, and what takes it back. */
export interface RecordedChange {
  readonly apply: () => Promise<void>;
  /** What comes after the record, for what may leave no room for one. */
  readonly finish?: () => Promise<void>;
  readonly undo: () => Promise<void>;
}

/** Makes a change to a volume and writes its record; when either fails, both are as they were. */
export async function rewriteRecord(
  { steps, form }: Store,
  volume: LockedVolume,
  record: VolumeRecord,
  { apply, finish, undo: takeBack }: RecordedChange,
): Promise<void> {
  await using undo = new Deferred();
  undo.defer(takeBack);
  await apply();
  const restore = await form.release?.(steps, volume.path);
  if (restore) undo.defer(restore);
  await writeAttribute(steps, volume.path, RECORD_ATTRIBUTE, formatRecord(record));
  undo.defer(() => writeAttribute(steps, volume.path, RECORD_ATTRIBUTE, formatRecord(volume.record)));
  await restore?.();
  if (restore) undo.defer(async () => void (await form.release?.(steps, volume.path)));
  await finish?.();
  await syncPath(steps, volume.path);
  undo.cancel();
}
