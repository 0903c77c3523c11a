import { fstatSync } from "node:fs";
import { exportDirectoryOf, openExport, sweepExports } from "../../images/exports.ts";
import { settleExport } from "../../images/holders.ts";
import type { Images, OpenImage } from "../../images/images.ts";
import { requireUnheld } from "../../location/changes.ts";
import { identityOf, type Location } from "../../location/location.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { calling } from "../../system/errno.ts";
import { measureSharedBytes } from "../../system/fiemap.ts";
import { closeFd, findStatus, listDirectory, openPath } from "../../system/files.ts";
import { findLoopDevice, toExportKey, updateCapacity } from "../../system/loop.ts";
import type { Steps } from "../../system/steps.ts";
import { exportPathOf, findDaemon } from "../../system/storagedaemon.ts";
import { copyDisk } from "./copy.ts";
import { readDisk, windowOf } from "./disk.ts";
import { growInUse } from "./growinuse.ts";
import { describeLayers, describeNested } from "./nodes.ts";
import { makeReady } from "./ready.ts";
import { cutDisk, growDisk } from "./size.ts";
import { whileShown } from "./staged.ts";
import { TakeBack } from "./takeback.ts";
import { findDiskUsers } from "./users.ts";

/** Disks of ploop, shown by a storage daemon each: of kind fs the partition, of kind disk all. */
export function ploopImages(steps: Steps, location: Location): Images {
  const directoryOf = (id: string) => exportDirectoryOf(identityOf(location), id);
  const keyAt = ({ id }: Pick<VolumeRecord, "id">) => toExportKey(exportPathOf(directoryOf(id)));
  const prepare = async ({ path, record }: Pick<OpenImage, "path" | "record">, readOnly: boolean) => {
    // One that a killed run left may show it still, as what it was while it was made.
    if (findDiskUsers(path).length > 0) await sweepExports(steps, identityOf(location));
    requireUnheld(record, findDiskUsers(path));
    await makeReady(steps, readDisk(path), readOnly);
  };
  return {
    isRaw: false,
    keyOf: ({ record }) => keyAt(record),
    keyAt,
    sizeOf: ({ path, record }) => windowOf(readDisk(path), record.kind).size,
    describe({ path, record }) {
      const disk = readDisk(path);
      const blockdev = describeNested(disk, record.kind, false);
      return { format: "ploop", chain: disk.deltas.map((delta) => delta.path), blockdev };
    },
    async node(volume, readOnly) {
      await prepare(volume, readOnly);
      return describeLayers(readDisk(volume.path), volume.record.kind, readOnly);
    },
    measure: ({ path }) => measureFiles(path),
    async open(volume, readOnly) {
      const directory = directoryOf(volume.record.id);
      if (!findLoopDevice(keyAt(volume.record))) {
        // One that nothing uses any more may be there, and has the image open.
        await settleExport(steps, directory);
        await prepare(volume, readOnly);
      }
      const makeNode = () => describeLayers(readDisk(volume.path), volume.record.kind, readOnly);
      return openExport(steps, directory, makeNode, readOnly);
    },
    release: ({ record }) => settleExport(steps, directoryOf(record.id)),
    copy: (volume, path, lockFd) => copyDisk(steps, volume, path, lockFd),
    sizing: {
      async grow({ path, record }, sizeBytes, device, undo) {
        const directory = directoryOf(record.id);
        const { size } = windowOf(readDisk(path), record.kind);
        const back = new TakeBack();
        undo.defer(async () => {
          // What a daemon has open that did not end is not made smaller.
          if (!device) await settleExport(steps, directory);
          if (device || findDaemon(directory) === undefined) await back.run();
        });
        if (device) back.defer(() => updateCapacity(steps, device, size));
        if (device) return growInUse(steps, directory, path, record.kind, sizeBytes, back);
        await settleExport(steps, directory);
        await growDisk(steps, path, record.kind, sizeBytes, back);
      },
      cut: (path, sizeBytes, lockFd) => cutDisk(steps, path, sizeBytes, lockFd),
    },
    whileOpen: (path, id, readOnly, action) => whileShown(steps, location, { path, id }, readOnly, action),
  };
}

async function measureFiles(directory: string): Promise<{ allocatedBytes: number; exclusiveBytes: number }> {
  let allocatedBytes = Number(findStatus(directory)?.blocks ?? 0) * 512;
  let exclusiveBytes = allocatedBytes;
  for (const name of listDirectory(directory)) {
    const path = `${directory}/${name}`;
    if (!findStatus(path)?.isFile()) continue;
    const own = await measureFile(path);
    allocatedBytes += own.allocatedBytes;
    exclusiveBytes += own.exclusiveBytes;
  }
  return { allocatedBytes, exclusiveBytes };
}

async function measureFile(path: string) {
  const fd = openPath(path);
  try {
    const allocatedBytes = calling("fstat", path, () => fstatSync(fd)).blocks * 512;
    const exclusiveBytes = Math.max(0, allocatedBytes - (await measureSharedBytes(fd, path)));
    return { allocatedBytes, exclusiveBytes };
  } finally {
    closeFd(fd);
  }
}
