import { basename } from "node:path";
import { isFilesystemName, makeDistinct } from "../../filesystems/registry.ts";
import { exportDirectoryOf } from "../../images/exports.ts";
import { settleDevice } from "../../images/holders.ts";
import type { ImageStore } from "../../images/images.ts";
import { whileQuiet } from "../../images/quiet.ts";
import { publishVolume, requireUnheld } from "../../location/changes.ts";
import { Deferred } from "../../location/deferred.ts";
import { identityOf } from "../../location/location.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { replaceFile } from "../../system/durablefile.ts";
import {
  closeFd,
  makeDirectory,
  makeSparseFile,
  openPath,
  shareBlocks,
  syncPath,
} from "../../system/files.ts";
import type { Holder } from "../../system/holders.ts";
import { findServer } from "../../system/nbdserver.ts";
import { DESCRIPTOR_NAME, readDescriptor } from "./descriptor.ts";
import { readDisk, windowOf } from "./disk.ts";
import { whileShown } from "./staged.ts";
import type { PloopStore } from "./store.ts";
import { findDiskUsers } from "./users.ts";
import { formatXml } from "./xml.ts";

/** The clone is a disk of its own, as ploop(8) expects one: all images in its directory, which share their blocks with those of the origin. */
export async function cloneDisk(
  store: PloopStore,
  origin: VolumeAddress,
  makeRecord: (origin: VolumeRecord) => VolumeRecord,
): Promise<VolumeRecord> {
  const { steps, images } = store;
  const volume = await lockVolume(store, origin);
  await using closing = new Deferred();
  closing.defer(async () => volume.close());
  const record = makeRecord({ ...volume.record, sizeBytes: images.sizeOf(volume) });
  const build = async (operation: Operation) => {
    await shareImages(store, volume, operation);
    // What was in use when it was shared was not closed.
    if (!steps.planning) await store.engine.prepare(steps, readDisk(operation.volumePath), false);
    const { filesystem, id } = record;
    if (filesystem === null || !isFilesystemName(filesystem)) return;
    const disk = readDisk(volume.path);
    const planned = { files: disk.deltas.map((delta) => basename(delta.path)), window: windowOf(disk, "fs") };
    await whileShown(store, { path: operation.volumePath, id, planned }, false, (rawPath) =>
      makeDistinct(steps, filesystem, rawPath, operation.fd),
    );
  };
  const finish = async ({ volumePath }: Operation) => {
    for (const file of listFiles(volume)) await syncPath(steps, `${volumePath}/${file}`);
  };
  await publishVolume(store, record, build, finish);
  return record;
}

async function shareImages(store: ImageStore, volume: LockedVolume, operation: Operation): Promise<void> {
  const { steps, images } = store;
  const device = await settleDevice(images.keyOf(volume));
  const directory = exportDirectoryOf(identityOf(store.location), volume.record.id);
  const server = findServer(directory);
  if (device || server)
    requireUnheld(volume.record, findDiskUsers(volume.path, directory).filter(isStranger));
  else requireUnheld(volume.record, await store.form.holders(volume.path, volume.fd));
  if (!device && !server) await images.release?.(volume);
  await makeDirectory(steps, operation.volumePath, 0o700);
  await using closing = new Deferred();
  const shares: (() => Promise<void>)[] = [];
  for (const file of listFiles(volume)) {
    const [from, to] = [`${volume.path}/${file}`, `${operation.volumePath}/${file}`];
    const fromFd = openPath(from);
    closing.defer(async () => closeFd(fromFd));
    const fd = await makeSparseFile(steps, to, 0);
    if (!steps.planning) closing.defer(async () => closeFd(fd));
    shares.push(() => shareBlocks(steps, from, fromFd, to, fd));
  }
  await whileQuiet(steps, volume.record.filesystem, device, operation, async () => {
    for (const share of shares) await share();
  });
  const descriptor = formatXml(readDescriptor(volume.path).root);
  await replaceFile(steps, `${operation.volumePath}/${DESCRIPTOR_NAME}`, descriptor);
}

/** All images, also those of snapshots that it is not read from now. */
function listFiles({ path }: LockedVolume): string[] {
  const { chain, others } = readDescriptor(path);
  return [...chain, ...others].map(({ file }) => file);
}

/** What another program writes to an image while it is shared would be half in the clone; a server of moctl is none. */
function isStranger(holder: Holder): boolean {
  return holder.kind !== "device" || holder.device.startsWith("/dev/");
}
