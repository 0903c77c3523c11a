import { fstatSync } from "node:fs";
import type { Store } from "../../location/store.ts";
import { openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { calling } from "../../system/errno.ts";
import { measureSharedBytes } from "../../system/fiemap.ts";
import type { VolumeStat } from "../backend.ts";
import { findImageHolders } from "./holders.ts";

/** What an image takes, what is in use inside, and who holds it. */
export async function statImage(store: Store, address: VolumeAddress): Promise<VolumeStat> {
  const { path, fd, record, close } = openVolume(store, address);
  try {
    const { size, blocks } = calling("fstat", path, () => fstatSync(fd));
    const allocatedBytes = blocks * 512;
    const exclusiveBytes = Math.max(0, allocatedBytes - (await measureSharedBytes(fd, path)));
    const holders = await findImageHolders(path, fd);
    return { record, virtualBytes: size, allocatedBytes, exclusiveBytes, inside: null, holders };
  } finally {
    close();
  }
}
