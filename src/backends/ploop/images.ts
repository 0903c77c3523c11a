import { fstatSync } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
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
import { findMountedDisk } from "../../system/ploopdevice.ts";
import type { Steps } from "../../system/steps.ts";
import { exportPathOf, findDaemon } from "../../system/storagedaemon.ts";
import { copyDisk } from "./copy.ts";
import { readDisk, windowOf } from "./disk.ts";
import type { Engine } from "./engine.ts";
import { growInUse } from "./growinuse.ts";
import { describeLayers, describeNested } from "./nodes.ts";
import { makeReady as prepareForQemu } from "./ready.ts";
import { cutDisk, growDisk } from "./size.ts";
import { whileShown } from "./staged.ts";
import { TakeBack } from "./takeback.ts";
import { findDiskUsers } from "./users.ts";

/** Disks of ploop, each shown by the engine: of kind fs the partition, of kind disk all. */
export function ploopImages(steps: Steps, location: Location, engine: Engine): Images {
  const directoryOf = (id: string) => exportDirectoryOf(identityOf(location), id);
  const keyAt = ({ id }: Pick<VolumeRecord, "id">) => toExportKey(exportPathOf(directoryOf(id)));
  const prepare = async (
    { path, record }: Pick<OpenImage, "path" | "record">,
    readOnly: boolean,
    makeReady: Engine["prepare"],
  ) => {
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
      await prepare(volume, readOnly, prepareForQemu);
      return describeLayers(readDisk(volume.path), volume.record.kind, readOnly);
    },
    measure: ({ path }) => measureFiles(path),
    async open(volume, readOnly) {
      const directory = directoryOf(volume.record.id);
      if (!findLoopDevice(keyAt(volume.record))) {
        // One that nothing uses any more may be there, and has the image open.
        await settleExport(steps, directory);
        await prepare(volume, readOnly, engine.prepare);
      }
      const { path, record } = volume;
      const show = () => engine.show(steps, directory, { path, kind: record.kind }, readOnly);
      return openExport(steps, directory, show, readOnly);
    },
    release: ({ record }) => settleExport(steps, directoryOf(record.id)),
    copy: (volume, path, lockFd) => copyDisk(steps, volume, path, lockFd),
    sizing: {
      async grow({ path, record }, sizeBytes, device, undo) {
        const directory = directoryOf(record.id);
        if (device && findMountedDisk(directory) !== undefined) throw notInUse(record.name);
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
    whileOpen: (path, id, readOnly, action) =>
      whileShown({ steps, location, engine }, { path, id }, readOnly, action),
  };
}

/** What ploop(8) would do to a disk in use it does to the filesystem on its own device, which here is that of a loop device. */
function notInUse(name: string): MosaicError {
  const message = "a disk that the kernel shows does not grow in use: unmount it and detach it first";
  return new MosaicError("BUSY", message, { name });
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
