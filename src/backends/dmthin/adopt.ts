import { MosaicError, quote } from "../../base/errors.ts";
import {
  FILESYSTEM_NAMES,
  type FilesystemName,
  filesystemOf,
  isFilesystemName,
} from "../../filesystems/registry.ts";
import type { Kind, VolumeRecord } from "../../location/record.ts";
import { probeFilesystem } from "../../system/blkid.ts";
import { readTargetStatus } from "../../system/devicemapper.ts";
import { openThinDevice, settleDevice, waitUntilGone } from "./devices.ts";
import { findObject, readObject } from "./objects.ts";
import type { ThinStore } from "./store.ts";

const SECTOR_BYTES = 512;
const STEP_BYTES = 4096;

/** What is found in a thin device of which no size is known. */
interface Contents {
  /** The filesystem, where it is one that mosaic knows. */
  readonly filesystem: FilesystemName | undefined;
  /** As large as what is written in it, and as its filesystem says. */
  readonly sizeBytes: number;
}

/** The kind that an object would be as a volume; undefined when it names no device. */
export async function findKind(store: ThinStore, path: string): Promise<Kind | undefined> {
  const object = findObject(path);
  if (!object) return undefined;
  return (await lookIntoThin(store, object.id)).filesystem === undefined ? "disk" : "fs";
}

/** The record of an object that is adopted: its size is what its filesystem takes, a disk's what is written in it. */
export async function examineThin(
  store: ThinStore,
  record: VolumeRecord,
  path: string,
  fd: number,
): Promise<VolumeRecord> {
  const object = readObject(fd, path);
  if (!object) {
    const message = `${quote(path)} names no device of the pool, so it cannot be adopted`;
    throw new MosaicError("UNSUPPORTED", message, { name: record.name });
  }
  const { filesystem, sizeBytes } = await lookIntoThin(store, object.id);
  const known = Math.max(sizeBytes, record.sizeBytes ?? 0, STEP_BYTES);
  if (record.kind === "disk") return { ...record, sizeBytes: known };
  if (filesystem !== undefined && (record.filesystem ?? filesystem) === filesystem)
    return { ...record, sizeBytes: known, filesystem };
  const expected = record.filesystem ?? FILESYSTEM_NAMES.join(", ");
  const message = `${quote(path)} holds ${filesystem ?? "no filesystem"}, expected ${expected}: adopt it as a disk if it is one`;
  throw new MosaicError("UNSUPPORTED", message, { found: filesystem ?? null, expected });
}

/** What is in a thin device of the pool; nothing is changed in it. */
export async function lookIntoThin(store: ThinStore, id: number): Promise<Contents> {
  const pool = await store.openPool();
  const existing = await settleDevice(pool, id);
  // Larger than anything in it can be: what is beyond reads as zeros.
  const sizeBytes = Math.max(pool.sizeBytes, 1024 ** 4);
  const opened = existing ? undefined : await openThinDevice(store.steps, pool, id, sizeBytes, true, []);
  const device = existing ?? opened?.device;
  try {
    return device
      ? await lookInside(store, device.path, device.number)
      : { filesystem: undefined, sizeBytes: 0 };
  } finally {
    opened?.close();
    if (opened && !store.steps.planning) await waitUntilGone(pool, id);
  }
}

async function lookInside({ steps }: ThinStore, path: string, number: string): Promise<Contents> {
  // Of "MAPPED HIGHEST"; the latter is "-" where nothing is mapped.
  const highest = Number(readTargetStatus({ number })[0]?.words[1]);
  const written = Number.isNaN(highest) ? 0 : (highest + 1) * SECTOR_BYTES;
  const type = steps.planning ? undefined : (await probeFilesystem(steps, path))?.type;
  if (type === undefined || !isFilesystemName(type)) return { filesystem: undefined, sizeBytes: written };
  return { filesystem: type, sizeBytes: Math.max(written, await filesystemOf(type).readSize(steps, path)) };
}
