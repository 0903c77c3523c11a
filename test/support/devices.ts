import type { Mosaic } from "../../src/index.ts";
import { findMappedDevice, listMappedUsers } from "../../src/system/devicemapper.ts";
import { listLoopDevices } from "../../src/system/loop.ts";
import type { Bed } from "./beds.ts";
import { loopImagesBelow } from "./snapshot.ts";

// The devices of the volumes of a bed, whatever makes them.

/** What has a device now: the paths of images, or the mapped devices of a pool. */
export function listBedDevices(bed: Bed): string[] {
  if (!bed.isPool) return loopImagesBelow(bed.location);
  return listPoolDevices(bed).map(({ path }) => path);
}

/** Whether a device goes by itself with its last user; undefined when there is no such device. */
export function isAutoclear(bed: Bed, path: string): boolean | undefined {
  if (!bed.isPool) return listLoopDevices().find((device) => device.path === path)?.autoclear;
  return listPoolDevices(bed).find((device) => device.path === path)?.isDeferred;
}

/** Runs `action` with the content of a volume that nothing uses: as a device. */
export async function whileAttached<T>(
  mosaic: Mosaic,
  name: string,
  action: (path: string) => T,
): Promise<T> {
  const device = await mosaic.attachVolume(name);
  try {
    return action(device);
  } finally {
    await mosaic.detachVolume(name);
  }
}

function listPoolDevices(bed: Bed) {
  const name = bed.configuredLocation.slice("/dev/mapper/".length);
  return listMappedUsers(findMappedDevice({ name })?.number ?? "");
}
