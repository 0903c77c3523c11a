import { constants, realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { Backend, BlockAccess, DirectoryAccess, OpenBlockVolume } from "../backends/backend.ts";
import { MosaicError, quote } from "../base/errors.ts";
import type { VolumeAddress } from "../location/volumes.ts";
import { calling, hasErrno } from "../system/errno.ts";
import { closeFd, openDirectory, openPath } from "../system/files.ts";
import {
  type DirectoryPlace,
  describeHolder,
  findDeviceMounts,
  findProcesses,
  toHolder,
} from "../system/holders.ts";
import { attachMount, detachMount, openBindMount, openDeviceMount } from "../system/mounting.ts";
import { findMountOf, isAtOrBelow, type Mount, readAllMounts, readOwnMounts } from "../system/mounts.ts";
import type { Steps } from "../system/steps.ts";

// Mounting is done here, once, for all backends: they give a device or a directory.

/** Mounts a volume onto a directory. Throws INVALID_ARGUMENT, NOT_FOUND, BUSY; then nothing is mounted or attached. */
export async function mountVolume(
  steps: Steps,
  backend: Backend,
  address: VolumeAddress,
  target: string,
  readOnly: boolean,
): Promise<void> {
  const mountPoint = openTarget(target);
  try {
    if (backend.directory) await mountDirectory(steps, backend.directory, address, mountPoint, readOnly);
    else if (backend.block) await mountBlock(steps, backend.block, address, mountPoint, readOnly);
  } finally {
    closeFd(mountPoint.fd);
  }
}

/** Mounts the metadata of a mosaic: a bind mount of its directory. */
export async function mountMetadata(
  steps: Steps,
  backend: Backend,
  target: string,
  readOnly: boolean,
): Promise<void> {
  const mountPoint = openTarget(target);
  try {
    const metadata = backend.metadata();
    try {
      await bindDirectory(steps, metadata, metadata.fd, mountPoint, readOnly);
    } finally {
      closeFd(metadata.fd);
    }
  } finally {
    closeFd(mountPoint.fd);
  }
}

/** Unmounts a volume from a directory. Throws NOT_FOUND when it is not what is mounted there, BUSY with the holders. */
export async function unmountVolume(
  steps: Steps,
  backend: Backend,
  address: VolumeAddress,
  target: string,
): Promise<void> {
  if (backend.directory) await unmountDirectory(steps, backend.directory, address, target);
  else if (backend.block) await unmountBlock(steps, backend.block, address, target);
}

/** Unmounts the metadata of a mosaic. Throws as `unmountVolume`. */
export async function unmountMetadata(steps: Steps, backend: Backend, target: string): Promise<void> {
  const metadata = backend.metadata();
  closeFd(metadata.fd);
  await unmountWhere(steps, target, (mount) => isMountOf(mount, metadata));
}

async function unmountDirectory(
  steps: Steps,
  access: DirectoryAccess,
  address: VolumeAddress,
  target: string,
): Promise<void> {
  const volume = await access.open(address);
  try {
    await unmountWhere(steps, target, (mount) => isMountOf(mount, volume.place));
  } finally {
    volume.close();
  }
}

async function unmountBlock(
  steps: Steps,
  access: BlockAccess,
  address: VolumeAddress,
  target: string,
): Promise<void> {
  const volume = await access.look(address);
  try {
    const { device } = volume;
    await unmountWhere(
      steps,
      target,
      (mount) => device !== undefined && findDeviceMounts(device.path, device.number, [mount]).length > 0,
    );
    if (!steps.planning) await volume.settle();
  } finally {
    volume.close();
  }
}

/** A directory to mount onto, open, so that it stays the same whatever happens to its path. */
interface MountPoint {
  readonly path: string;
  readonly fd: number;
}

async function mountDirectory(
  steps: Steps,
  access: DirectoryAccess,
  address: VolumeAddress,
  mountPoint: MountPoint,
  readOnly: boolean,
): Promise<void> {
  const volume = await access.open(address);
  try {
    await bindDirectory(steps, volume.place, volume.fd, mountPoint, readOnly);
  } finally {
    volume.close();
  }
}

async function bindDirectory(
  steps: Steps,
  place: DirectoryPlace,
  fd: number,
  mountPoint: MountPoint,
  readOnly: boolean,
): Promise<void> {
  requireNotMountedHere(mountPoint, (mount) => isMountOf(mount, place));
  const mountFd = await openBindMount(steps, place.path, fd, readOnly);
  await placeMount(steps, mountFd, mountPoint, readOnly);
}

async function mountBlock(
  steps: Steps,
  access: BlockAccess,
  address: VolumeAddress,
  mountPoint: MountPoint,
  readOnly: boolean,
): Promise<void> {
  const volume = await access.open(address, readOnly);
  try {
    const filesystem = requireFilesystem(volume);
    const mounts = findDeviceMounts(volume.device.path, volume.device.number);
    requireNotMountedHere(mountPoint, (mount) => mounts.some(({ id }) => id === mount.id));
    const filesystemReadOnly = chooseReadOnly(volume, mounts, readOnly);
    const mountFd = await openDeviceMount(steps, {
      filesystem,
      device: volume.device.path,
      readOnly,
      filesystemReadOnly,
    });
    await placeMount(steps, mountFd, mountPoint, readOnly);
  } finally {
    volume.close();
  }
}

function requireFilesystem({ record }: OpenBlockVolume): string {
  if (record.filesystem !== null) return record.filesystem;
  const message = "it is a bare disk, which has no filesystem to mount: attach it and use the device";
  throw new MosaicError("INVALID_ARGUMENT", message, { name: record.name, kind: record.kind });
}

/** A filesystem that is mounted is shared as it is; a writable mount of one that is read-only would not be writable. */
function chooseReadOnly(
  { record, device }: OpenBlockVolume,
  mounts: readonly Mount[],
  readOnly: boolean,
): boolean {
  const isReadOnly = device.readOnly || mounts.some((mount) => mount.superOptions.includes("ro"));
  if (isReadOnly && !readOnly) {
    const holders = mounts.map(toHolder);
    const where =
      holders.length > 0 ? holders.map(describeHolder).join("; ") : `its device ${device.path} is read-only`;
    throw new MosaicError("BUSY", `it is in use read-only: ${where}`, {
      name: record.name,
      holders,
    });
  }
  return mounts.length > 0 ? isReadOnly : readOnly;
}

function openTarget(target: string): MountPoint {
  const path = resolveTarget(target);
  try {
    return { path, fd: openDirectory(path) };
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT"))
      throw new MosaicError(
        "NOT_FOUND",
        `the mount point ${quote(target)} is not there: make it (mkdir ${target})`,
        { mountPoint: target },
        thrown,
      );
    if (hasErrno(thrown, "ELOOP", "ENOTDIR"))
      throw new MosaicError(
        "INVALID_ARGUMENT",
        `the mount point ${quote(target)} is not a directory, or is a symbolic link`,
        { mountPoint: target },
        thrown,
      );
    throw thrown;
  }
}

function resolveTarget(target: string): string {
  if (target === "") throw new MosaicError("INVALID_ARGUMENT", "the mount point is empty");
  try {
    return resolve(target);
  } catch (thrown) {
    throw new MosaicError(
      "INVALID_ARGUMENT",
      `cannot find ${quote(target)}: the working directory is gone`,
      {},
      thrown,
    );
  }
}

function requireNotMountedHere(mountPoint: MountPoint, isSame: (mount: Mount) => boolean): void {
  const onTop = findMountOf(mountPoint.fd);
  if (!isRootOf(onTop, mountPoint.path) || !isSame(onTop)) return;
  throw new MosaicError("BUSY", `it is mounted at ${quote(mountPoint.path)} already`, {
    holders: [toHolder(onTop)],
  });
}

/** Places a detached mount and reads back that it is there, and read-only when that was asked. */
async function placeMount(
  steps: Steps,
  mountFd: number,
  mountPoint: MountPoint,
  readOnly: boolean,
): Promise<void> {
  if (steps.planning) return attachMount(steps, mountFd, mountPoint.fd, mountPoint.path);
  try {
    await attachMount(steps, mountFd, mountPoint.fd, mountPoint.path);
    const mount = findMountOf(mountFd);
    if (mount.readOnly === readOnly) return;
  } finally {
    closeFd(mountFd);
  }
  await detachMount(steps, mountPoint.path);
  throw new MosaicError(
    "UNAVAILABLE",
    `the kernel did not make the mount at ${quote(mountPoint.path)} ${readOnly ? "read-only" : "writable"}`,
  );
}

async function unmountWhere(steps: Steps, target: string, isOurs: (mount: Mount) => boolean): Promise<void> {
  const path = resolveTarget(target);
  const mount = findMountAt(path);
  if (!mount || !isOurs(mount)) {
    const found = mount ? `what is mounted there is ${quote(mount.source)}` : "nothing is mounted there";
    throw new MosaicError("NOT_FOUND", `it is not mounted at ${quote(target)}: ${found}`, {
      mountPoint: path,
      reason: "not-mounted",
    });
  }
  try {
    await detachMount(steps, path);
  } catch (thrown) {
    if (!hasErrno(thrown, "EBUSY")) throw thrown;
    throw busyMount(mount, thrown);
  }
  if (steps.planning || !readOwnMounts().some(({ id }) => id === mount.id)) return;
  throw new MosaicError("BUSY", `${quote(path)} is still mounted after its umount`, {
    holders: [toHolder(mount)],
  });
}

/** The mount on top at a path, which is no symbolic link; undefined when nothing is mounted exactly there. */
function findMountAt(path: string): Mount | undefined {
  const O_PATH = 0o10000000;
  let fd: number;
  try {
    fd = openPath(path, O_PATH | constants.O_DIRECTORY);
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT")) return undefined;
    if (hasErrno(thrown, "ELOOP", "ENOTDIR"))
      throw new MosaicError(
        "INVALID_ARGUMENT",
        `the mount point ${quote(path)} is not a directory, or is a symbolic link`,
        { mountPoint: path },
        thrown,
      );
    throw thrown;
  }
  try {
    const mount = findMountOf(fd);
    return isRootOf(mount, path) ? mount : undefined;
  } finally {
    closeFd(fd);
  }
}

function isRootOf(mount: Mount, path: string): boolean {
  return mount.mountPoint === calling("realpath", path, () => realpathSync(path));
}

function isMountOf(mount: Mount, place: DirectoryPlace): boolean {
  return mount.device === place.device && mount.root === place.root;
}

function busyMount(mount: Mount, cause: unknown): MosaicError {
  const inside = readAllMounts().filter((other) => other.parentId === mount.id);
  const processes = findProcesses("", (open) => isAtOrBelow(open, mount.mountPoint));
  const holders = [...inside.map(toHolder), ...processes];
  const shown =
    holders.length > 0 ? holders.slice(0, 5).map(describeHolder).join("; ") : "the kernel says so";
  return new MosaicError("BUSY", `${quote(mount.mountPoint)} is busy: ${shown}`, { holders }, cause);
}
