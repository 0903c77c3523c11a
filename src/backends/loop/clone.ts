import { fstatSync } from "node:fs";
import { isFilesystemName, makeDistinct } from "../../filesystems/registry.ts";
import { settleDevice } from "../../images/holders.ts";
import type { ImageStore } from "../../images/images.ts";
import { whileQuiet } from "../../images/quiet.ts";
import { publishVolume } from "../../location/changes.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { closeFd, makeSparseFile, shareBlocks } from "../../system/files.ts";

/** The clone is what a power cut at that moment would leave, with a filesystem UUID of its own. */
export async function cloneImage(
  store: ImageStore,
  origin: VolumeAddress,
  makeRecord: (origin: VolumeRecord) => VolumeRecord,
): Promise<VolumeRecord> {
  const volume = await lockVolume(store, origin);
  try {
    const record = makeRecord({ ...volume.record, sizeBytes: fstatSync(volume.fd).size });
    await publishVolume(store, record, async (operation) => {
      await copyImage(store, volume, operation);
      if (record.filesystem === null || !isFilesystemName(record.filesystem)) return;
      await makeDistinct(store.steps, record.filesystem, operation.volumePath, operation.fd);
    });
    return record;
  } finally {
    volume.close();
  }
}

async function copyImage(
  { steps, images }: ImageStore,
  volume: LockedVolume,
  operation: Operation,
): Promise<void> {
  const device = await settleDevice(images.keyOf(volume));
  const fd = await makeSparseFile(steps, operation.volumePath, 0);
  try {
    const share = () => shareBlocks(steps, volume.path, volume.fd, operation.volumePath, fd);
    await whileQuiet(steps, volume.record.filesystem, device, operation, share);
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}
