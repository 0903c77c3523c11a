import { fstatSync } from "node:fs";
import { MosaicError } from "../../base/errors.ts";
import { isFilesystemName, makeDistinct } from "../../filesystems/registry.ts";
import { backingName, basePath, type Link, readChain } from "../../images/bases.ts";
import { requireNotStopped } from "../../images/exports.ts";
import { settleDevice } from "../../images/holders.ts";
import type { ImageStore } from "../../images/images.ts";
import { isBlank } from "../../images/qcow2.ts";
import { whileQuiet } from "../../images/quiet.ts";
import { publishVolume, requireUnheld } from "../../location/changes.ts";
import { Deferred } from "../../location/deferred.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { findStatus } from "../../system/files.ts";
import type { LoopDevice } from "../../system/loop.ts";
import { findServer, type Server } from "../../system/nbdserver.ts";
import { exportOf } from "./images.ts";
import { exchangeOverlay, makeImage, prepareOverlay, renameBacking } from "./overlay.ts";
import { finishSwitch, switchDaemon } from "./switch.ts";

/** The clone and its origin go on as two images over what the origin was, which from then on nobody writes. */
export async function cloneImage(
  store: ImageStore,
  limit: number,
  origin: VolumeAddress,
  makeRecord: (origin: VolumeRecord) => VolumeRecord,
): Promise<VolumeRecord> {
  const { steps, images } = store;
  await using closing = new Deferred();
  await using undo = new Deferred();
  const volume = await lockVolume(store, origin);
  closing.defer(async () => volume.close());
  const chain = readChain(store.location, volume.path, volume.fd);
  const sizeBytes = images.sizeOf(volume);
  const record = makeRecord({ ...volume.record, sizeBytes });
  await publishVolume(store, record, async (operation) => {
    const base = await findBase(store, volume, chain, limit, operation, closing, undo);
    const name = backingName(record.storedName, base);
    await makeImage(steps, operation.volumePath, sizeBytes, name, operation.fd);
    const { filesystem } = record;
    if (filesystem === null || !isFilesystemName(filesystem)) return;
    await images.whileOpen(operation.volumePath, record.id, false, (rawPath) =>
      makeDistinct(steps, filesystem, rawPath, operation.fd),
    );
  });
  undo.cancel();
  return record;
}

/** The base that the origin has, while nothing was written since; else what the origin is now becomes one. */
async function findBase(
  store: ImageStore,
  volume: LockedVolume,
  chain: readonly Link[],
  limit: number,
  operation: Operation,
  closing: Deferred,
  undo: Deferred,
): Promise<string> {
  const directory = exportOf(store.location, volume.record);
  requireNotStopped(directory);
  const device = await settleDevice(store.images.keyOf(volume));
  const server = findServer(directory);
  const [top, below] = chain;
  if (!device && !server && top && below?.base && isBlank(volume.fd, volume.path, top.header)) {
    await requireNotWritten(store, volume);
    return below.base;
  }
  requireShort(volume, chain, limit);
  await requireNotWritten(store, volume, device, server);
  // One that nothing uses may be there still, and has the image open.
  if (!device && !store.steps.planning) await store.images.release?.(volume);
  const isWritten = [device, server].some((user) => user?.readOnly === false);
  if (isWritten) await finishSwitch(store.steps, store.location, directory, volume);
  const base = await prepareOverlay(store, volume, chain, operation, closing, undo);
  await whileQuiet(store.steps, volume.record.filesystem, device, operation, async () => {
    const overlay = findStatus(basePath(store.location, base))?.ino ?? 0n;
    await exchangeOverlay(store, volume, base, undo);
    if (!isWritten) return;
    await switchDaemon(store.steps, directory, volume.path, { image: fstatSync(volume.fd).ino, overlay });
    // What is written from now on is in the overlay: the origin keeps it, whatever becomes of the clone.
    undo.cancel();
  });
  await renameBacking(store, base);
  return base;
}

/** What another program writes to an image while it becomes a base would be in both. */
async function requireNotWritten(
  { form }: ImageStore,
  { record, path, fd }: LockedVolume,
  device?: LoopDevice,
  server?: Server,
): Promise<void> {
  const holders = await form.holders(path, fd);
  const strangers = holders.filter((holder) => holder.kind === "process" && holder.path.endsWith(path));
  requireUnheld(record, device || server ? strangers : holders);
}

function requireShort({ record }: LockedVolume, chain: readonly Link[], limit: number): void {
  if (chain.length < limit) return;
  const message = `it is a chain of ${chain.length} images, and the config allows ${limit}: unmount and detach it, and make it one image with check --repair`;
  throw new MosaicError("UNSUPPORTED", message, { name: record.name, chain: chain.length, limit });
}
