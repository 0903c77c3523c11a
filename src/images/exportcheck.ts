import { basename } from "node:path";
import type { Finding } from "../location/finding.ts";
import { identityOf } from "../location/location.ts";
import { isLockedPath } from "../location/locks.ts";
import type { VolumeRecord } from "../location/record.ts";
import { deadError, isAbandoned, isDead, listExports, sweepExports } from "./exports.ts";
import type { ImageStore } from "./images.ts";

/** What is wrong with the storage daemons that show the images of a location. */
export function* checkExports(store: ImageStore, volumes: readonly VolumeRecord[]): Generator<Finding> {
  for (const directory of listExports(identityOf(store.location)))
    yield* checkExport(store, directory, volumes);
}

function* checkExport(
  store: ImageStore,
  directory: string,
  volumes: readonly VolumeRecord[],
): Generator<Finding> {
  if (isLockedPath(directory)) return;
  const subject = volumes.find(({ id }) => id === basename(directory))?.name ?? directory;
  if (isAbandoned(directory)) {
    yield {
      code: "stale-daemon",
      severity: "problem",
      subject,
      message:
        "its storage daemon is there, but nothing uses it; the next command that changes something ends it",
      repair: () => sweepExports(store.steps, identityOf(store.location)),
    };
  } else if (isDead(directory)) {
    const { message } = deadError(directory);
    yield { code: "dead-daemon", severity: "problem", subject, message };
  }
}
