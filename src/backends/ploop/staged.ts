import { exportDirectoryOf, openExport } from "../../images/exports.ts";
import { settleExport } from "../../images/holders.ts";
import { Deferred } from "../../location/deferred.ts";
import { identityOf, type Location } from "../../location/location.ts";
import type { Steps } from "../../system/steps.ts";
import type { Window } from "../../system/storagedaemon.ts";
import { IMAGE_NAME } from "./descriptor.ts";
import { readDisk } from "./disk.ts";
import { PARTITION_START } from "./gpt.ts";
import { SECTOR } from "./header.ts";
import { describeLayers, layFiles } from "./nodes.ts";
import { makeReady } from "./ready.ts";

/** A disk of kind fs that nobody knows yet, with the id of its export, and what a plan, in which it is not there, shows of it. */
export interface StagedDisk {
  readonly path: string;
  readonly id: string;
  readonly planned?: { readonly files: readonly string[]; readonly window: Window };
}

/** Runs an action with the partition of a disk, shown as a file, on which only this process works. */
export async function whileShown<T>(
  steps: Steps,
  location: Location,
  { path, id, planned }: StagedDisk,
  readOnly: boolean,
  action: (rawPath: string) => Promise<T>,
): Promise<T> {
  if (!steps.planning) await makeReady(steps, readDisk(path), readOnly);
  const { files, window } = planned ?? { files: [IMAGE_NAME], window: { offset: PARTITION_START * SECTOR } };
  const plan = () =>
    layFiles(
      files.map((file) => `${path}/${file}`),
      window,
      readOnly,
    );
  const makeNode = () => (steps.planning ? plan() : describeLayers(readDisk(path), "fs", readOnly));
  const directory = exportDirectoryOf(identityOf(location), id);
  const raw = await openExport(steps, directory, makeNode, readOnly);
  await using closing = new Deferred();
  closing.defer(() => settleExport(steps, directory));
  closing.defer(async () => raw.close());
  return await action(raw.path);
}
