import { basePath, freeBases } from "../../images/bases.ts";
import { closeExport, findExportUsers, sweepExports } from "../../images/exports.ts";
import { findFileUsers, findImageHolders } from "../../images/holders.ts";
import { readHead } from "../../images/qcow2.ts";
import type { Form } from "../../location/form.ts";
import { identityOf, type Location } from "../../location/location.ts";
import { parseRecord, RECORD_ATTRIBUTE } from "../../location/record.ts";
import { listVolumes } from "../../location/volumes.ts";
import { closeFd, fileKeyOf, findStatus, openPath, removeFile, toFileKey } from "../../system/files.ts";
import type { Holder } from "../../system/holders.ts";
import { getAttribute, tryLock } from "../../system/libc.ts";
import { findLoopDevice, toExportKey } from "../../system/loop.ts";
import { findServer } from "../../system/nbdserver.ts";
import type { Steps } from "../../system/steps.ts";
import { exportPathOf, findDaemon, hasOpen } from "../../system/storagedaemon.ts";
import { exportOf } from "./images.ts";
import { finishSwitch } from "./switch.ts";

/** What a volume of qcow2 is in its location. */
export function qcow2Form(location: Location, kindOf: NonNullable<Form["kindOf"]>): Form {
  return {
    backend: "qcow2",
    description: "a qcow2 image file",
    matches: (status) => status.isFile() && status.nlink <= 1n,
    kindOf,
    holders: (path, fd) => findHolders(location, path, fd),
    async sweep(steps) {
      await sweepExports(steps, identityOf(location));
      await finishSwitches(steps, location, qcow2Form(location, kindOf));
      await freeBases(steps, location);
    },
    async remove(steps, path) {
      const directory = steps.planning ? undefined : findServing(location, path);
      if (directory !== undefined) await closeExport(steps, directory);
      await removeFile(steps, path);
      await freeBases(steps, location);
    },
  };
}

async function findHolders(location: Location, path: string, fd: number): Promise<Holder[]> {
  const directory = findExport(location, path, fd);
  if (directory === undefined) return findFileUsers(path, fd);
  const key = toExportKey(exportPathOf(directory));
  return findImageHolders(key, () => [
    ...findFileUsers(path, fd, findDaemon(directory)),
    ...findExportUsers(directory),
  ]);
}

function findServing(location: Location, path: string): string | undefined {
  const fd = openPath(path);
  try {
    return findExport(location, path, fd);
  } finally {
    closeFd(fd);
  }
}

/**
 * The export of an image; undefined when it has none. What was replaced or copied has the id of a volume too, but its daemon, if there
 * is one, has another file open.
 */
function findExport(location: Location, path: string, fd: number): string | undefined {
  const record = parseRecord(getAttribute(fd, RECORD_ATTRIBUTE) ?? Buffer.alloc(0));
  if (!record) return undefined;
  const directory = exportOf(location, record);
  const daemon = findDaemon(directory);
  if (daemon === undefined || listFiles(location, path, fd).some((file) => hasOpen(daemon, file)))
    return directory;
  return undefined;
}

/** The image itself and the one below it, which a daemon may still write: see `finishSwitch`. */
function listFiles(location: Location, path: string, fd: number) {
  const bases = readHead(fd, path).match(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? [];
  const below = bases.flatMap((base) => findStatus(basePath(location, base)) ?? []);
  return [fileKeyOf(fd), ...below.map(({ dev, ino }) => toFileKey(dev, ino))];
}

/** Completes the clones of volumes in use that were killed before the daemon knew of the overlay. */
async function finishSwitches(steps: Steps, location: Location, form: Form): Promise<void> {
  for (const record of listVolumes(location, form)) {
    const directory = exportOf(location, record);
    if (!findStatus(directory)) continue;
    const user = findLoopDevice(toExportKey(exportPathOf(directory))) ?? findServer(directory);
    const daemon = user?.readOnly === false ? findDaemon(directory) : undefined;
    if (daemon === undefined) continue;
    const path = `${location.path}/${record.storedName}`;
    const fd = openPath(path);
    try {
      if (!hasOpen(daemon, fileKeyOf(fd)) && tryLock(fd))
        await finishSwitch(steps, location, directory, { path, fd });
    } finally {
      closeFd(fd);
    }
  }
}
