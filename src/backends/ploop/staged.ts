import { exportDirectoryOf, openExport } from "../../images/exports.ts";
import { settleExport } from "../../images/holders.ts";
import { Deferred } from "../../location/deferred.ts";
import { identityOf } from "../../location/location.ts";
import { IMAGE_NAME } from "./descriptor.ts";
import { readDisk } from "./disk.ts";
import type { ShownDisk } from "./engine.ts";
import { PARTITION_START } from "./gpt.ts";
import { SECTOR } from "./header.ts";
import type { PloopStore } from "./store.ts";

/** A disk of kind fs that nobody knows yet, with the id of its export. */
export interface StagedDisk extends Omit<ShownDisk, "kind"> {
  readonly id: string;
}

const PLANNED = { files: [IMAGE_NAME], window: { offset: PARTITION_START * SECTOR } };

/** Runs an action with the partition of a disk, shown as a file, on which only this process works. */
export async function whileShown<T>(
  { steps, location, engine }: Pick<PloopStore, "steps" | "location" | "engine">,
  { path, id, planned = PLANNED }: StagedDisk,
  readOnly: boolean,
  action: (rawPath: string) => Promise<T>,
): Promise<T> {
  if (!steps.planning) await engine.prepare(steps, readDisk(path), readOnly);
  const directory = exportDirectoryOf(identityOf(location), id);
  const show = () => engine.show(steps, directory, { path, kind: "fs", planned }, readOnly);
  const raw = await openExport(steps, directory, show, readOnly);
  await using closing = new Deferred();
  closing.defer(() => settleExport(steps, directory));
  closing.defer(async () => raw.close());
  return await action(raw.path);
}
