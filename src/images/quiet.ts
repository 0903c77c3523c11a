import { type HeldLock, whileFrozen } from "../filesystems/freeze.ts";
import { closeFd, syncPath } from "../system/files.ts";
import { findDeviceMounts } from "../system/holders.ts";
import type { LoopDevice } from "../system/loop.ts";
import { openDeviceMount } from "../system/mounting.ts";
import type { Steps } from "../system/steps.ts";

/** Runs an action while what was written to a device, if there is one, is in its image, and a filesystem that is mounted writable writes nothing. */
export async function whileQuiet(
  steps: Steps,
  filesystem: string | null,
  device: LoopDevice | undefined,
  lock: HeldLock,
  action: () => Promise<void>,
): Promise<void> {
  if (device) await syncPath(steps, device.path);
  if (!device || filesystem === null || !isMountedWritable(device)) return action();
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
    await whileFrozen(steps, mountFd, lock, action);
  } finally {
    if (!steps.planning) closeFd(mountFd);
  }
}

function isMountedWritable(device: LoopDevice): boolean {
  return findDeviceMounts(device.path, device.number).some((mount) => mount.superOptions.includes("rw"));
}
