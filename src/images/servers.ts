import { basename } from "node:path";
import { MosaicError } from "../base/errors.ts";
import { identityOf } from "../location/location.ts";
import type { Store } from "../location/store.ts";
import type { LockedVolume } from "../location/volumes.ts";
import { closeFd } from "../system/files.ts";
import type { Holder } from "../system/holders.ts";
import { listProcesses } from "../system/mounts.ts";
import {
  endServer,
  findServer,
  hasServed,
  readServer,
  type Server,
  serverUriOf,
  startServer,
} from "../system/nbdserver.ts";
import type { Steps } from "../system/steps.ts";
import type { BlockNode, LayeredNode } from "../system/storagedaemon.ts";
import { exportDirectoryOf, listExports, lockExport, startAnew } from "./exports.ts";

// An image at a socket in place of a block device, for hypervisors. Meanwhile nothing else of moctl writes to it.

/** The directory of the export of a volume. */
export function exportOf({ location }: Pick<Store, "location">, id: string): string {
  return exportDirectoryOf(identityOf(location), id);
}

/** The URIs of the servers of all volumes of a storage, by the ids of the volumes. */
export function listServers(identity: string): Map<string, string> {
  const served = listExports(identity).filter(hasServed);
  if (served.length === 0) return new Map();
  const running = new Set(listProcesses().map((pid) => readServer(pid)?.uri));
  const found = served.map((directory) => [basename(directory), serverUriOf(directory)] as const);
  return new Map(found.filter(([, uri]) => running.has(uri)));
}

/** Shows an image, which nothing uses, at a socket until that is ended; gives the URI. Throws BUSY. */
export async function openServer(
  steps: Steps,
  directory: string,
  makeNode: () => Promise<BlockNode | LayeredNode>,
): Promise<string> {
  const start = async () => startServer(steps, directory, await makeNode());
  const lockFd = steps.planning ? undefined : await lockExport(directory);
  try {
    if (lockFd === undefined) await start();
    else await startAnew(steps, directory, start);
    return serverUriOf(directory);
  } finally {
    if (lockFd !== undefined) closeFd(lockFd);
  }
}

/** Ends what shows an image at a socket. Throws BUSY while a client is connected. */
export async function closeServer(steps: Steps, directory: string): Promise<void> {
  const lockFd = steps.planning ? undefined : await lockExport(directory);
  try {
    await endServer(steps, directory);
  } finally {
    if (lockFd !== undefined) closeFd(lockFd);
  }
}

/** A server as the holder of a volume. */
export function toServerHolder({ uri }: Pick<Server, "uri">): Holder {
  return { kind: "device", device: uri, attached: true };
}

/** Throws BUSY for a volume that is at a socket. */
export function requireNoServer(
  store: Pick<Store, "location">,
  { record }: Pick<LockedVolume, "record">,
): void {
  const server = findServer(exportOf(store, record.id));
  if (!server) return;
  const { uri: device, readOnly } = server;
  const details = {
    name: record.name,
    reason: "attached",
    device,
    readOnly,
    holders: [toServerHolder(server)],
  };
  throw new MosaicError("BUSY", `it is attached already, as ${device}`, details);
}
