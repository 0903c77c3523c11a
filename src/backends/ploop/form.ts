import { closeExport, exportDirectoryOf, findExportUsers, sweepExports } from "../../images/exports.ts";
import { findImageHolders } from "../../images/holders.ts";
import type { Form } from "../../location/form.ts";
import { identityOf, type Location, placeInFilesystem } from "../../location/location.ts";
import { parseRecord, RECORD_ATTRIBUTE } from "../../location/record.ts";
import { removeTree } from "../../location/removal.ts";
import { findStatus, listDirectory, toFileKey } from "../../system/files.ts";
import { findDirectoryMounts, type Holder } from "../../system/holders.ts";
import { getAttribute } from "../../system/libc.ts";
import { toExportKey } from "../../system/loop.ts";
import { findMountedDisk } from "../../system/ploopdevice.ts";
import { exportPathOf, findDaemon, hasOpen } from "../../system/storagedaemon.ts";
import { DESCRIPTOR_NAME } from "./descriptor.ts";
import { findDiskUsers } from "./users.ts";

/** What a volume of ploop is in its location. */
export function ploopForm(location: Location, kindOf: NonNullable<Form["kindOf"]>): Form {
  return {
    backend: "ploop",
    description: "the directory of a ploop disk",
    matches: (status) => status.isDirectory(),
    kindOf,
    holders: (path) => findHolders(location, path),
    sweep: (steps) => sweepExports(steps, identityOf(location)),
    async remove(steps, path) {
      const directory = steps.planning ? undefined : findExport(location, path);
      if (directory !== undefined) await closeExport(steps, directory);
      await removeTree(steps, path);
    },
  };
}

async function findHolders(location: Location, path: string): Promise<Holder[]> {
  const directory = findExport(location, path);
  const mounts = findDirectoryMounts(placeInFilesystem(location, path));
  const others = [...mounts, ...findDiskUsers(path, directory)];
  if (directory === undefined) return others;
  const key = toExportKey(exportPathOf(directory));
  return findImageHolders(key, () => [...others, ...findExportUsers(directory)]);
}

/** The export of a disk; undefined when it has none. A copy has the id of a volume too, but its daemon has other files open. */
function findExport(location: Location, path: string): string | undefined {
  const record = parseRecord(getAttribute(path, RECORD_ATTRIBUTE) ?? Buffer.alloc(0));
  if (!record) return undefined;
  const directory = exportDirectoryOf(identityOf(location), record.id);
  const shown = findMountedDisk(directory);
  if (shown !== undefined) return shown === `${path}/${DESCRIPTOR_NAME}` ? directory : undefined;
  const daemon = findDaemon(directory);
  if (daemon === undefined) return directory;
  const files = listDirectory(path).flatMap((name) => findStatus(`${path}/${name}`) ?? []);
  return files.some(({ dev, ino }) => hasOpen(daemon, toFileKey(dev, ino))) ? directory : undefined;
}
