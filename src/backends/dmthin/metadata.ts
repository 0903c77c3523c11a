import { MosaicError, quote } from "../../base/errors.ts";
import { parseStoredName, parseVolumeName } from "../../base/names.ts";
import { type FilesystemName, filesystemOf } from "../../filesystems/registry.ts";
import { takeLock } from "../../location/locks.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { findText, replaceFile } from "../../system/durablefile.ts";
import { hasErrno } from "../../system/errno.ts";
import { closeFd, openDirectory } from "../../system/files.ts";
import type { BlockMetadata, LookedBlockVolume } from "../backend.ts";
import { openVolumeDevice, type ThinVolume } from "./access.ts";
import { lookIntoThin } from "./adopt.ts";
import { changePool } from "./change.ts";
import { whileActive } from "./clone.ts";
import { findThinDevice, settleDevice, toBlockDevice } from "./devices.ts";
import { findObject, type ThinObject } from "./objects.ts";
import type { Pool } from "./pool.ts";
import type { ThinStore } from "./store.ts";
import { isInPool } from "./thin.ts";

// The metadata of a mosaic is a filesystem on the device 0 of its pool, which is made on its first use.

/** The id of its device. */
export const METADATA_ID = 0;
const LARGEST_BYTES = 16 * 1024 ** 3;
const STEP_BYTES = 4096;

/** What is kept of the metadata's device, beside which it is. */
interface MetadataObject extends ThinObject {
  readonly sizeBytes: number;
  readonly filesystem: FilesystemName;
  /** Whether its filesystem is complete. */
  readonly isReady: boolean;
}

/** The metadata of a mosaic. */
export function blockMetadata(store: ThinStore, filesystem: FilesystemName): BlockMetadata {
  return {
    open: (readOnly) =>
      locking(store, async (volume) => {
        const object = findMetadata(store) ?? (await makeMetadata(store, volume, filesystem));
        return openVolumeDevice(store, describe(volume, object), readOnly);
      }),
    look: () =>
      locking(store, async (volume): Promise<LookedBlockVolume> => {
        const device = findThinDevice(volume.pool, METADATA_ID);
        const settle = async () => void (await settleDevice(volume.pool, METADATA_ID));
        return {
          record: volume.record,
          close: async () => volume.close(),
          settle,
          device: device && toBlockDevice(device),
        };
      }),
  };
}

/** The metadata's device has no object among the volumes: the lock is that of their directory. */
async function locking<T>(store: ThinStore, action: (volume: ThinVolume) => Promise<T>): Promise<T> {
  const { location, lockTimeoutMs, steps } = store;
  const fd = openDirectory(location.path);
  try {
    await takeLock(fd, location.path, "the metadata", lockTimeoutMs, steps.signal);
    const pool = await store.openPool();
    const path = metadataPath(store);
    return await action({
      path,
      fd,
      pool,
      record: RECORD,
      thinId: METADATA_ID,
      sizeBytes: 0,
      close: () => closeFd(fd),
    });
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}

/** What errors and mounts are told of the metadata, which has no record. */
const RECORD: VolumeRecord = {
  id: "00000000-0000-0000-0000-000000000000",
  name: parseVolumeName("metadata"),
  storedName: parseStoredName("metadata"),
  backend: "dmthin",
  kind: "fs",
  filesystem: null,
  sizeBytes: null,
  parentId: null,
  createdAt: "",
  labels: {},
};

function describe(volume: ThinVolume, { sizeBytes, filesystem }: MetadataObject): ThinVolume {
  return { ...volume, sizeBytes, record: { ...RECORD, sizeBytes, filesystem } };
}

async function makeMetadata(
  store: ThinStore,
  volume: ThinVolume,
  filesystem: FilesystemName,
): Promise<MetadataObject> {
  const { steps } = store;
  const object = await makeDevice(store, volume.pool, filesystem);
  await whileActive(store, { ...volume, sizeBytes: object.sizeBytes }, METADATA_ID, volume.fd, (path) =>
    filesystemOf(filesystem).make(steps, path, volume.fd),
  );
  const ready = { ...object, isReady: true };
  await writeMetadata(store, ready);
  return ready;
}

/** Writes down again what the metadata is whose device a pool has; one without a filesystem stays foreign. */
export async function restoreMetadata(store: ThinStore, { transaction }: ThinObject): Promise<void> {
  const { filesystem, sizeBytes } = await lookIntoThin(store, METADATA_ID);
  if (!filesystem) return;
  await writeMetadata(store, { id: METADATA_ID, transaction, sizeBytes, filesystem, isReady: true });
}

/** Makes the device 0; one without a complete filesystem, which a killed run left, is made anew. */
function makeDevice(store: ThinStore, pool: Pool, filesystem: FilesystemName): Promise<MetadataObject> {
  return changePool(store, false, async (change) => {
    const left = findObject(metadataPath(store));
    if (left && (await isInPool(store, left, change))) {
      await change.begin();
      await change.send(`delete ${METADATA_ID}`);
    } else await change.begin();
    const sizeBytes = Math.min(LARGEST_BYTES, pool.sizeBytes - (pool.sizeBytes % STEP_BYTES));
    const object = {
      id: METADATA_ID,
      transaction: change.transaction,
      sizeBytes,
      filesystem,
      isReady: false,
    };
    await writeMetadata(store, object);
    try {
      await change.send(`create_thin ${METADATA_ID}`);
    } catch (thrown) {
      if (!hasErrno(thrown, "EEXIST")) throw thrown;
      const message = `the device ${METADATA_ID} of the pool, which would hold the metadata, was not made by mosaic, or its file ${quote(metadataPath(store))} is lost: then remove the file pool beside it and say check --repair`;
      throw new MosaicError("ALREADY_EXISTS", message, { id: METADATA_ID }, thrown);
    }
    return object;
  });
}

/** The metadata that is complete. */
function findMetadata(store: ThinStore): MetadataObject | undefined {
  const text = findText(metadataPath(store));
  const object = findObject(metadataPath(store));
  if (text === undefined || !object) return undefined;
  const { isReady, sizeBytes, filesystem } = JSON.parse(text) as MetadataObject;
  return isReady ? { ...object, isReady, sizeBytes, filesystem } : undefined;
}

function writeMetadata({ steps, statePath }: ThinStore, object: MetadataObject): Promise<void> {
  return replaceFile(steps, `${statePath}/metadata`, `${JSON.stringify({ version: 1, ...object })}\n`);
}

function metadataPath({ statePath }: ThinStore): string {
  return `${statePath}/metadata`;
}
