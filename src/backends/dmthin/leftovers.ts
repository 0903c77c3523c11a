import { listMappedUsers, type MappedDevice } from "../../system/devicemapper.ts";
import { runDmsetup } from "../../system/dmsetup.ts";
import { unlessErrno } from "../../system/errno.ts";
import { closeFd, openPath } from "../../system/files.ts";
import { tryLock } from "../../system/libc.ts";
import { UUID_PREFIX } from "./change.ts";
import { findLeftover } from "./devices.ts";
import { listObjects } from "./objects.ts";
import type { Pool } from "./pool.ts";
import type { ThinStore } from "./store.ts";

/** The devices of a pool that mosaic made, with the id of each. */
export function listOwnDevices(pool: Pool): { readonly device: MappedDevice; readonly id: number }[] {
  return listMappedUsers(pool.number)
    .filter(({ uuid }) => uuid.startsWith(UUID_PREFIX))
    .map((device) => ({ device, id: Number(device.uuid.slice(device.uuid.lastIndexOf("-") + 1)) }));
}

/** Removes the devices that killed runs left before they came to life; who makes one has the lock of its volume. */
export async function sweepDevices(store: ThinStore): Promise<void> {
  const pool = store.findPool();
  const left = pool ? listOwnDevices(pool).filter(({ device }) => !device.isLive) : [];
  if (!pool || left.length === 0) return;
  const paths = new Map([...listObjects(store.location.path)].map(({ id, path }) => [id, path]));
  for (const { id } of left) {
    const fd = unlessErrno(["ENOENT"], () => openPath(paths.get(id) ?? ""));
    if (fd === undefined) continue;
    try {
      const device = tryLock(fd) ? findLeftover(pool, id) : undefined;
      if (device) await runDmsetup(store.steps, ["remove", device.name], [fd]);
    } finally {
      closeFd(fd);
    }
  }
}
