import { MosaicError, quote } from "../../base/errors.ts";
import { FILESYSTEM_NAMES, filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import { blockAccess } from "../../images/devices.ts";
import { surveyImages } from "../../images/holders.ts";
import { resizeImage } from "../../images/resize.ts";
import { statImage } from "../../images/stat.ts";
import { adoptVolume, publishVolume } from "../../location/changes.ts";
import { locationMembers } from "../../location/core.ts";
import { openLocation } from "../../location/location.ts";
import type { Operation } from "../../location/operation.ts";
import type { Kind, VolumeRecord } from "../../location/record.ts";
import { syncPath } from "../../system/files.ts";
import { canShareBlocks } from "../../system/reflink.ts";
import type { Backend, BackendContext } from "../backend.ts";
import { checkPloop } from "./check.ts";
import { cloneDisk } from "./clone.ts";
import { DESCRIPTOR_NAME, findDescriptor, IMAGE_NAME } from "./descriptor.ts";
import { type Disk, guessFilesystem, readDisk, readTables, windowOf } from "./disk.ts";
import { engineOf } from "./engine.ts";
import { ploopForm } from "./form.ts";
import { findPartition, PARTITION_START } from "./gpt.ts";
import { SECTOR } from "./header.ts";
import { ploopImages } from "./images.ts";
import { makeDisk } from "./make.ts";
import { whileShown } from "./staged.ts";
import type { PloopStore } from "./store.ts";

const SIZE_STEP_BYTES = 1024 ** 2;
/** What a table of 64 MiB reaches with blocks of 1 MiB. */
const SIZE_MAX_BYTES = 16 * 1024 ** 4 - 1024 ** 3;

/** Volumes are directories as ploop(8) of OpenVZ makes them, which go back and forth between it and here. */
export function openPloop(context: BackendContext): Backend {
  const location = openLocation(context.location, context);
  const engine = engineOf(context.engine);
  const images = ploopImages(context.steps, location, engine);
  const form = ploopForm(location, (_steps, path) => findKind(path));
  const store: PloopStore = { ...context, location, form, images, engine };
  return {
    ...locationMembers(store),
    limits: {
      kinds: ["fs", "disk"],
      sizeIsRequired: true,
      sizeStepBytes: SIZE_STEP_BYTES,
      sizeMaxBytes: SIZE_MAX_BYTES,
      filesystems: Object.fromEntries(
        FILESYSTEM_NAMES.map((name) => [name, filesystemOf(name).minimumBytes]),
      ),
    },
    create: (record) =>
      publishVolume(
        store,
        record,
        (operation) => createDisk(store, record, operation),
        ({ volumePath }) => syncPath(context.steps, `${volumePath}/${IMAGE_NAME}`),
      ),
    adopt: (record) => adoptVolume(store, record, (path) => examineDisk(record, path)),
    survey: () => surveyImages(store),
    stat: (address) => statImage(store, address),
    check: () => checkPloop(store),
    block: blockAccess(store),
    async resize(address, sizeBytes, options) {
      // A daemon that a killed run left may have the disk open.
      await form.sweep?.(context.steps);
      return resizeImage(store, address, sizeBytes, options);
    },
    ...(canShareBlocks(location.fd, location.filesystemMagic) && {
      clone: (origin, makeRecord) => cloneDisk(store, origin, makeRecord),
    }),
  };
}

async function createDisk(
  store: PloopStore,
  { id, kind, filesystem, sizeBytes }: VolumeRecord,
  { volumePath, fd }: Operation,
): Promise<void> {
  const { steps } = store;
  const size = sizeBytes ?? 0;
  await makeDisk(steps, volumePath, kind, size);
  if (filesystem === null || !isFilesystemName(filesystem)) return;
  const planned = { files: [IMAGE_NAME], window: { offset: PARTITION_START * SECTOR, size } };
  await whileShown(store, { path: volumePath, id, planned }, false, (rawPath) =>
    filesystemOf(filesystem).make(steps, rawPath, fd),
  );
}

/** By a look at the files, which changes nothing and which nobody can hinder. */
async function findKind(path: string): Promise<Kind | undefined> {
  try {
    if (!findDescriptor(path)) return undefined;
    const disk = readDisk(path);
    const partition = findPartition(readTables(disk), disk.sizeSectors);
    return partition && guessFilesystem(disk) !== undefined ? "fs" : "disk";
  } catch (thrown) {
    if (thrown instanceof MosaicError && ["UNSUPPORTED", "DAMAGED"].includes(thrown.code)) return undefined;
    throw thrown;
  }
}

async function examineDisk(record: VolumeRecord, path: string): Promise<VolumeRecord> {
  const disk = requireDisk(path);
  if (record.kind === "disk") return { ...record, sizeBytes: windowOf(disk, "disk").size };
  const partition = findPartition(readTables(disk), disk.sizeSectors);
  const found = partition && guessFilesystem(disk);
  if (found !== undefined && isFilesystemName(found) && (record.filesystem ?? found) === found)
    return { ...record, sizeBytes: windowOf(disk, "fs").size, filesystem: found };
  const expected = record.filesystem ?? FILESYSTEM_NAMES.join(", ");
  const what = partition ? `holds ${found ?? "no filesystem"} in its partition` : "has not one partition";
  const message = `the disk in ${quote(path)} ${what}, expected one with ${expected}: adopt it as a disk if it is one`;
  throw new MosaicError("UNSUPPORTED", message, { found: found ?? null, expected });
}

function requireDisk(path: string): Disk {
  if (findDescriptor(path)) return readDisk(path);
  const message = `${quote(path)} is no ploop disk: it has no ${DESCRIPTOR_NAME}`;
  throw new MosaicError("UNSUPPORTED", message, { path });
}
