import { constants, fstatSync, openSync, statSync } from "node:fs";
import { basename } from "node:path";
import { MosaicError, quote } from "../base/errors.ts";
import { FILESYSTEM_NAMES, filesystemOf, isFilesystemName, makeDistinct } from "../filesystems/filesystem.ts";
import { whileFrozen } from "../filesystems/freeze.ts";
import { adoptVolume, publishVolume, requireUnheld } from "../location/changes.ts";
import { locationMembers } from "../location/core.ts";
import type { Form } from "../location/form.ts";
import { type Location, openLocation } from "../location/location.ts";
import type { Operation } from "../location/operation.ts";
import type { VolumeRecord } from "../location/record.ts";
import type { Store } from "../location/store.ts";
import { type LockedVolume, lockVolume, type VolumeAddress } from "../location/volumes.ts";
import { probeFilesystem } from "../system/blkid.ts";
import { calling } from "../system/errno.ts";
import {
  closeFd,
  type FileKey,
  fileKeyOf,
  findStatus,
  makeSparseFile,
  removeFile,
  shareBlocks,
  syncPath,
  toFileKey,
} from "../system/files.ts";
import {
  findDeviceMounts,
  findProcesses,
  findStackedDevices,
  type Holder,
  toHolder,
} from "../system/holders.ts";
import {
  detachLoopDevice,
  findLoopDevice,
  keepLoopDevice,
  type LoopDevice,
  listLoopDevices,
  openLoopDevice,
} from "../system/loop.ts";
import { openDeviceMount } from "../system/mounting.ts";
import { readAllMounts } from "../system/mounts.ts";
import { canShareBlocks } from "../system/reflink.ts";
import type { Steps } from "../system/steps.ts";
import type { Backend, BackendContext, BlockAccess, OpenBlockVolume } from "./backend.ts";

const SIZE_STEP_BYTES = 4096;
const SETTLE_MS = 5_000;
const GLANCE_MS = 1_000;

/** Volumes are raw sparse image files; clones share their blocks where the filesystem below can do that. */
export function openLoop(context: BackendContext): Backend {
  const location = openLocation(context.location, context);
  const store: Store = { ...context, location, form: imageForm };
  return {
    ...locationMembers(store),
    limits: {
      kinds: ["fs", "disk"],
      sizeIsEnforced: true,
      sizeStepBytes: SIZE_STEP_BYTES,
      filesystems: Object.fromEntries(
        FILESYSTEM_NAMES.map((name) => [name, filesystemOf(name).minimumBytes]),
      ),
    },
    create: (record) =>
      publishVolume(store, record, (operation) => createImage(context.steps, record, operation)),
    adopt: (record) =>
      adoptVolume(store, record, (path, fd) => examineImage(context.steps, record, path, fd)),
    survey: () => surveyImages(location),
    block: blockAccess(store),
    ...(canShareBlocks(location.fd, location.filesystemMagic) && {
      clone: (origin, makeRecord) => cloneImage(store, origin, makeRecord),
    }),
  };
}

const imageForm: Form = {
  backend: "loop",
  description: "an image file",
  matches: (status) => status.isFile() && status.nlink === 1n,
  holders: findImageHolders,
  remove: (steps, path) => removeFile(steps, path),
};

async function createImage(steps: Steps, record: VolumeRecord, operation: Operation): Promise<void> {
  const fd = await makeSparseFile(steps, operation.volumePath, record.sizeBytes ?? 0);
  if (!steps.planning) closeFd(fd);
  if (record.filesystem === null || !isFilesystemName(record.filesystem)) return;
  await filesystemOf(record.filesystem).make(steps, operation.volumePath, operation.fd);
}

async function examineImage(
  steps: Steps,
  record: VolumeRecord,
  path: string,
  fd: number,
): Promise<VolumeRecord> {
  const { size } = fstatSync(fd);
  if (size === 0 || size % 512 !== 0) {
    throw new MosaicError(
      "UNSUPPORTED",
      `${quote(path)} has ${size} bytes: an image is a whole number of sectors of 512 bytes`,
      { sizeBytes: size },
    );
  }
  if (record.kind === "disk") return { ...record, sizeBytes: size };
  const found = (await probeFilesystem(steps, path))?.type;
  if (found !== undefined && isFilesystemName(found) && (record.filesystem ?? found) === found) {
    return { ...record, sizeBytes: size, filesystem: found };
  }
  const expected = record.filesystem ?? FILESYSTEM_NAMES.join(", ");
  const message = `${quote(path)} holds ${found ?? "no filesystem"}, expected ${expected}: adopt it as a disk if it is one`;
  throw new MosaicError("UNSUPPORTED", message, { found: found ?? null, expected });
}

/** The clone is what a power cut at that moment would leave, with a filesystem UUID of its own. */
async function cloneImage(
  store: Store,
  origin: VolumeAddress,
  makeRecord: (origin: VolumeRecord) => VolumeRecord,
): Promise<VolumeRecord> {
  const volume = await lockVolume(store, origin);
  try {
    const record = makeRecord({ ...volume.record, sizeBytes: fstatSync(volume.fd).size });
    await publishVolume(store, record, async (operation) => {
      await copyImage(store.steps, volume, operation);
      if (record.filesystem === null || !isFilesystemName(record.filesystem)) return;
      await makeDistinct(store.steps, record.filesystem, operation.volumePath, operation.fd);
    });
    return record;
  } finally {
    volume.close();
  }
}

async function copyImage(steps: Steps, volume: LockedVolume, operation: Operation): Promise<void> {
  const device = await settleDevice(volume.fd);
  const fd = await makeSparseFile(steps, operation.volumePath, 0);
  try {
    const share = () => shareBlocks(steps, volume.path, volume.fd, operation.volumePath, fd);
    if (device) await syncPath(steps, device.path);
    if (device && volume.record.filesystem && isMountedWritable(device)) {
      await shareFrozen(steps, volume.record.filesystem, device, operation, share);
    } else {
      await share();
    }
  } finally {
    if (!steps.planning) closeFd(fd);
  }
}

async function shareFrozen(
  steps: Steps,
  filesystem: string,
  device: LoopDevice,
  operation: Operation,
  share: () => Promise<void>,
): Promise<void> {
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
    await whileFrozen(steps, mountFd, operation, share);
  } finally {
    if (!steps.planning) closeFd(mountFd);
  }
}

function isMountedWritable(device: LoopDevice): boolean {
  return findDeviceMounts(device.path, device.number).some((mount) => mount.superOptions.includes("rw"));
}

function blockAccess(store: Store): BlockAccess {
  const lock = (address: VolumeAddress) => lockVolume(store, address);
  return {
    async attach(address) {
      const volume = await lock(address);
      try {
        return await attachImage(store.steps, volume);
      } finally {
        volume.close();
      }
    },
    async detach(address) {
      const volume = await lock(address);
      try {
        await detachImage(store.steps, volume);
      } finally {
        volume.close();
      }
    },
    async look(address) {
      const volume = await lock(address);
      return { ...sessionOf(volume), device: findLoopDevice(fileKeyOf(volume.fd)) };
    },
    async open(address, readOnly) {
      const volume = await lock(address);
      try {
        return await openImage(store.steps, volume, readOnly);
      } catch (thrown) {
        volume.close();
        throw thrown;
      }
    },
  };
}

async function openImage(steps: Steps, volume: LockedVolume, readOnly: boolean): Promise<OpenBlockVolume> {
  const existing = await settleDevice(volume.fd);
  if (existing) return { ...sessionOf(volume), device: existing };
  const opened = await openDeviceOf(steps, volume, readOnly);
  const close = () => {
    opened.close();
    volume.close();
  };
  return { ...sessionOf(volume), device: opened.device, close };
}

function sessionOf(volume: LockedVolume): Omit<OpenBlockVolume, "device"> {
  return {
    record: volume.record,
    close: volume.close,
    settle: async () => void (await settleDevice(volume.fd)),
  };
}

async function attachImage(steps: Steps, volume: LockedVolume): Promise<string> {
  const existing = await settleDevice(volume.fd);
  if (existing) {
    requireAttachable(volume, existing);
    await keepLoopDevice(steps, existing);
    return existing.path;
  }
  const opened = await openDeviceOf(steps, volume, false);
  try {
    await keepLoopDevice(steps, opened.device);
    return opened.device.path;
  } finally {
    opened.close();
  }
}

/** A device that only mounts use can stay; one that stays is attached already. */
function requireAttachable(volume: LockedVolume, device: LoopDevice): void {
  if (device.autoclear && !device.readOnly) return;
  const message = device.autoclear
    ? `it is mounted read-only, so it has a read-only device, ${device.path}: unmount it first`
    : `it is attached already, as ${device.path}`;
  const holders: Holder[] = [{ kind: "device", device: device.path, attached: !device.autoclear }];
  throw new MosaicError("BUSY", message, { name: volume.record.name, device: device.path, holders });
}

async function detachImage(steps: Steps, volume: LockedVolume): Promise<void> {
  const device = findLoopDevice(fileKeyOf(volume.fd));
  if (!device || device.autoclear) {
    const message = `it is not attached${device ? `: its device ${device.path} is there only for a mount` : ""}`;
    throw new MosaicError("NOT_FOUND", message, { name: volume.record.name, reason: "not-attached" });
  }
  requireUnheld(volume.record, await findLastingHolders(device));
  await detachLoopDevice(steps, device);
}

async function openDeviceOf(steps: Steps, volume: LockedVolume, readOnly: boolean) {
  const path = `/proc/self/fd/${volume.fd}`;
  const fd = calling("open", volume.path, () =>
    openSync(path, readOnly ? constants.O_RDONLY : constants.O_RDWR),
  );
  try {
    return await openLoopDevice(steps, volume.path, fd, readOnly);
  } finally {
    closeFd(fd);
  }
}

/** The device of an image; one that nothing uses any more is going, which takes a moment. */
async function settleDevice(fd: number): Promise<LoopDevice | undefined> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const device = findLoopDevice(fileKeyOf(fd));
    if (!device?.autoclear || findDeviceHolders(device).length > 0 || performance.now() > deadline)
      return device;
    await Bun.sleep(5);
  }
}

async function findImageHolders(path: string, fd: number): Promise<Holder[]> {
  const device = await settleDevice(fd);
  const key = fileKeyOf(fd);
  const isImage = (open: string, link: string) =>
    basename(open) === basename(path) && findKeyBehind(link) === key;
  const processes = findProcesses(path, isImage);
  if (!device) return processes;
  const users = [...findDeviceHolders(device), ...processes];
  // A device that only mounts use is not worth a word beside them.
  const isWorthNaming = !device.autoclear || users.length === 0;
  return isWorthNaming
    ? [{ kind: "device", device: device.path, attached: !device.autoclear }, ...users]
    : users;
}

function findDeviceHolders(device: LoopDevice): Holder[] {
  const mounts = findDeviceMounts(device.path, device.number).map(toHolder);
  const stacked = findStackedDevices(basename(device.path));
  return [...mounts, ...stacked, ...findProcesses("", (open) => open === device.path)];
}

/** A program that only looks at a new device, such as udev's, is given a moment to go on. */
async function findLastingHolders(device: LoopDevice): Promise<Holder[]> {
  const deadline = performance.now() + GLANCE_MS;
  for (;;) {
    const holders = findDeviceHolders(device);
    if (
      holders.some((holder) => holder.kind !== "process") ||
      holders.length === 0 ||
      performance.now() > deadline
    )
      return holders;
    await Bun.sleep(20);
  }
}

function surveyImages(location: Location) {
  const devices = new Map(listLoopDevices().map((device) => [device.file, device]));
  const mounts = devices.size > 0 ? readAllMounts() : [];
  return (record: VolumeRecord) => {
    const device =
      devices.size > 0 ? devices.get(findKey(`${location.path}/${record.storedName}`) as FileKey) : undefined;
    if (!device) return { attachedAs: null, mounts: [] };
    const attachedAs = device.autoclear ? null : device.path;
    return { attachedAs, mounts: findDeviceMounts(device.path, device.number, mounts).map(toHolder) };
  };
}

function findKey(path: string): FileKey | undefined {
  const status = findStatus(path);
  return status && toFileKey(status.dev, status.ino);
}

/** The file that a link in /proc leads to. */
function findKeyBehind(link: string): FileKey | undefined {
  const status = calling("stat", link, () => statSync(link, { bigint: true, throwIfNoEntry: false }));
  return status && toFileKey(status.dev, status.ino);
}
