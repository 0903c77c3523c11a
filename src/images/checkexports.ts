import { basename } from "node:path";
import type { Finding } from "../location/finding.ts";
import { identityOf } from "../location/location.ts";
import { isLockedPath } from "../location/locks.ts";
import { listVolumes } from "../location/volumes.ts";
import { hasServed } from "../system/nbdserver.ts";
import { findDaemon, isStopped } from "../system/storagedaemon.ts";
import { deadError, isAbandoned, isDead, listExports, sweepExports } from "./exports.ts";
import type { ImageStore } from "./images.ts";

/** What is wrong with the daemons that show the images of a storage. */
export function* checkExports(store: ImageStore): Generator<Finding> {
  const identity = identityOf(store.location);
  const directories = listExports(identity);
  if (directories.length === 0) return;
  const names = new Map([...listVolumes(store.location, store.form)].map(({ id, name }) => [id, name]));
  for (const directory of directories) {
    // A command is at work on it.
    if (isLockedPath(directory)) continue;
    const subject = names.get(basename(directory)) ?? directory;
    const repair = () => sweepExports(store.steps, identity);
    const daemon = findDaemon(directory);
    if (daemon !== undefined && isStopped(daemon)) yield describeStopped(subject, daemon);
    else if (isDead(directory)) yield describeDead(subject, directory, repair);
    else if (isAbandoned(directory)) yield describeStale(subject, repair);
  }
}

function describeDead(subject: string, directory: string, repair: () => Promise<void>): Finding {
  const finding = { code: "dead-daemon", severity: "problem", subject } as const;
  if (!hasServed(directory) && !isAbandoned(directory))
    return { ...finding, message: deadError(directory).message };
  const message = "its storage daemon died: what was not synced is lost, and who used it must open it anew";
  return { ...finding, message, advice: "attach or mount it again", repair };
}

function describeStopped(subject: string, daemon: number): Finding {
  const message = `its storage daemon, process ${daemon}, is stopped: whoever reads or writes the volume waits`;
  return { code: "stopped-daemon", severity: "problem", subject, message, advice: `kill -CONT ${daemon}` };
}

function describeStale(subject: string, repair: () => Promise<void>): Finding {
  return {
    code: "stale-daemon",
    severity: "problem",
    subject,
    message:
      "its storage daemon is there, but nothing uses it; the next command that changes something ends it",
    repair,
  };
}
