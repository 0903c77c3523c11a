import { fstatSync } from "node:fs";
import { whileFrozen } from "../../filesystems/freeze.ts";
import { isFilesystemName, makeDistinct } from "../../filesystems/registry.ts";
import { publishVolume } from "../../location/changes.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import type { Store } from "../../location/store.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import { closeFd, makeSparseFile, shareBlocks, syncPath } from "../../system/files.ts";
import { findDeviceMounts } from "../../system/holders.ts";
import type { LoopDevice } from "../../system/loop.ts";
import { openDeviceMount } from "../../system/mounting.ts";
import type { Steps } from "../../system/steps.ts";
import { settleDevice } from "./holders.ts";

/** The clone is what a power cut at that moment would leave, with a filesystem UUID of its own. */
export async function cloneImage(
  store: Store,
  origin: VolumeAddress,
  makeRecord: (origin: VolumeRecord) => VolumeRecord,
): Promise<VolumeRecord> {
  const volume = await lockVolume(store, origin);
  try {
    const record = makeRecord({ ...volume.record, sizeBytes: fstatSync(volume.fd).size });
    await publishVolume(store, record, async (operation) => {
      await copyImage(store.steps, volume, operation);
      if (record.filesystem === null || !isFilesystemName(record.filesystem)) return;
      await makeDistinct(store.steps, record.filesystem, operation.volumePath, operation.fd);
    });
    return record;
  } finally {
    volume.close();
  }
}

async function copyImage(steps: Steps, volume: LockedVolume, operation: Operation): Promise<void> {
  const device = await settleDevice(volume.fd);
  const fd = await makeSparseFile(steps, operation.volumePath, 0);
  try {
    const share = () => shareBlocks(steps, volume.path, volume.fd, operation.volumePath, fd);
    if (device) await syncPath(steps, device.path);
    if (device && volume.record.filesystem && isMountedWritable(device)) {
      await shareFrozen(steps, volume.record.filesystem, device, operation, share);
    } else {
      await share();
    }
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}

async function shareFrozen(
  steps: Steps,
  filesystem: string,
  device: LoopDevice,
  operation: Operation,
  share: () => Promise<void>,
): Promise<void> {
  // A mount of our own reaches the filesystem also where it is mounted only in another namespace.
  const mount = {
    filesystem,
    device: device.path,
    readOnly: false,
    filesystemReadOnly: false,
    restricted: true,
  };
  const mountFd = await openDeviceMount(steps, mount);
  try {
    await whileFrozen(steps, mountFd, operation, share);
  } finally {
    if (!steps.planning) closeFd(mountFd);
  }
}

function isMountedWritable(device: LoopDevice): boolean {
  return findDeviceMounts(device.path, device.number).some((mount) => mount.superOptions.includes("rw"));
}
