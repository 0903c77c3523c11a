import type { Backend, DirectoryAccess, OpenBlockVolume } from "../backends/backend.ts";
import { MosaicError, quote } from "../base/errors.ts";
import type { VolumeAddress } from "../location/volumes.ts";
import { closeFd } from "../system/files.ts";
import { type DirectoryPlace, describeHolder, findDeviceMounts, toHolder } from "../system/holders.ts";
import { attachMount, detachMount, openBindMount, openDeviceMount } from "../system/mounting.ts";
import { findMountOf, type Mount } from "../system/mounts.ts";
import type { Steps } from "../system/steps.ts";
import { isMountOf, isRootOf, type MountPoint, openTarget } from "./mountpoint.ts";

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
    else if (backend.block)
      await mountBlock(steps, await backend.block.open(address, readOnly), mountPoint, readOnly);
  } finally {
    closeFd(mountPoint.fd);
  }
}

/** Mounts the metadata of a mosaic: a bind mount of its directory, or its device. */
export async function mountMetadata(
  steps: Steps,
  backend: Backend,
  target: string,
  readOnly: boolean,
): Promise<void> {
  const mountPoint = openTarget(target);
  try {
    if (typeof backend.metadata !== "function")
      return await mountBlock(steps, await backend.metadata.open(readOnly), mountPoint, readOnly);
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
  volume: OpenBlockVolume,
  mountPoint: MountPoint,
  readOnly: boolean,
): Promise<void> {
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
    await volume.close();
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

function requireNotMountedHere(mountPoint: MountPoint, isSame: (mount: Mount) => boolean): void {
  const onTop = findMountOf(mountPoint.fd);
  if (!isRootOf(onTop, mountPoint.fd) || !isSame(onTop)) return;
  throw new MosaicError("BUSY", `it is mounted at ${quote(mountPoint.path)} already`, {
    reason: "mounted-here",
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
