import { closeFd } from "../system/files.ts";
import { findDeviceMounts } from "../system/holders.ts";
import { openDeviceMount } from "../system/mounting.ts";
import type { Steps } from "../system/steps.ts";

/**
 * Runs `action` with a mount of our own where the filesystem on a device is mounted writable, and says whether it is: so it
 * is reached also where it is mounted only in another namespace.
 */
export async function withWritableMount(
  steps: Steps,
  filesystem: string | null,
  device: { readonly path: string; readonly number: string },
  action: (mountFd: number) => Promise<void>,
): Promise<boolean> {
  const mounts = filesystem === null ? [] : findDeviceMounts(device.path, device.number);
  if (filesystem === null || !mounts.some((mount) => mount.superOptions.includes("rw"))) return false;
  const mount = {
    filesystem,
    device: device.path,
    readOnly: false,
    filesystemReadOnly: false,
    restricted: true,
  };
  const mountFd = await openDeviceMount(steps, mount);
  try {
    await action(mountFd);
  } finally {
    if (!steps.planning) closeFd(mountFd);
  }
  return true;
}
