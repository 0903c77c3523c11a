import { readMounted } from "../../filesystems/mounteduse.ts";
import { openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { findDeviceMounts } from "../../system/holders.ts";
import { measureThinDevices, type ThinUse } from "../../system/thintools.ts";
import type { VolumeStat } from "../backend.ts";
import { requireSizeOf } from "./access.ts";
import { lockPool, whileReadable } from "./change.ts";
import { findThinDevice, findThinHolders } from "./devices.ts";
import { missingDevice } from "./findings.ts";
import { requireObject } from "./objects.ts";
import type { ThinStore } from "./store.ts";

/** What a volume takes of its pool, what is in use inside where it is mounted, and who holds it. */
export async function statThin(store: ThinStore, address: VolumeAddress): Promise<VolumeStat> {
  const volume = openVolume(store, address);
  try {
    const { record, fd, path } = volume;
    const { id } = requireObject(fd, path);
    const [pool, uses] = await measurePool(store);
    const use = uses.find((device) => device.id === id);
    if (!use) throw missingDevice(record.name, id);
    const device = findThinDevice(pool, id);
    return {
      record,
      virtualBytes: requireSizeOf(record),
      allocatedBytes: use.mappedBytes,
      exclusiveBytes: use.exclusiveBytes,
      inside: device && record.filesystem ? readMounted(findDeviceMounts(device.path, device.number)) : null,
      holders: await findThinHolders(pool, id),
    };
  } finally {
    volume.close();
  }
}

function measurePool(store: ThinStore) {
  return lockPool(store, async (pool, lockFd) => {
    const measure = (metadata: string): Promise<ThinUse[]> => measureThinDevices(store.steps, metadata);
    return [pool, await whileReadable(store, pool, lockFd, measure)] as const;
  });
}
