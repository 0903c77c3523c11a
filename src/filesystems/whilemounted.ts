import { constants, fstatSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { closeFd, openPath } from "../system/files.ts";
import { backingKeyOf, findLoopDevice, openLoopDevice } from "../system/loop.ts";
import { openDeviceMount } from "../system/mounting.ts";
import type { Steps } from "../system/steps.ts";

const DEADLINE_MS = 30_000;

/** Replays the log of the filesystem in a device, or in an image of which there is none: only the kernel can, by a mount. */
export function replayLog(
  steps: Steps,
  filesystem: string,
  path: string,
  flags: readonly string[],
): Promise<void> {
  return whileMounted(steps, filesystem, path, flags, async () => {});
}

/** Runs `action` while the filesystem in a device, or in an image of which there is none, has a mount that nobody else sees. */
export async function whileMounted(
  steps: Steps,
  filesystem: string,
  path: string,
  flags: readonly string[],
  action: (mountFd: number) => Promise<void>,
): Promise<void> {
  // In a plan a copy is not there.
  const fd = steps.planning ? -1 : openPath(path, constants.O_RDWR);
  const mount = (device: string) => whileDeviceMounted(steps, filesystem, device, flags, action);
  try {
    if (path.startsWith("/dev/") && (fd < 0 || fstatSync(fd).isBlockDevice())) return await mount(path);
    const loop = await openLoopDevice(steps, path, fd, false);
    try {
      await mount(loop.device.path);
    } finally {
      loop.close();
    }
    if (!steps.planning) await waitUntilDetached(fd, path);
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}

/** Runs `action` while a device has a mount that nobody else sees. */
export async function whileDeviceMounted(
  steps: Steps,
  filesystem: string,
  device: string,
  flags: readonly string[],
  action: (mountFd: number) => Promise<void>,
): Promise<void> {
  const mount = { filesystem, device, readOnly: false, filesystemReadOnly: false, restricted: true, flags };
  const mountFd = await openDeviceMount(steps, mount);
  try {
    await action(mountFd);
  } finally {
    if (!steps.planning) closeFd(mountFd);
  }
}

async function waitUntilDetached(fd: number, path: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (findLoopDevice(backingKeyOf(fd))) {
    if (performance.now() > deadline)
      throw new MosaicError("TOOL_FAILED", `the loop device of ${path} did not go after its last use`);
    await Bun.sleep(5);
  }
}
