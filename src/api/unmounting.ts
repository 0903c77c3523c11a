import type { Backend, DirectoryAccess, LookedBlockVolume } from "../backends/backend.ts";
import { MosaicError, quote } from "../base/errors.ts";
import type { VolumeAddress } from "../location/volumes.ts";
import { hasErrno } from "../system/errno.ts";
import { closeFd } from "../system/files.ts";
import { describeHolder, findDeviceMounts, findProcesses, toHolder } from "../system/holders.ts";
import { detachMount } from "../system/mounting.ts";
import { isAtOrBelow, type Mount, readAllMounts, readOwnMounts } from "../system/mounts.ts";
import type { Steps } from "../system/steps.ts";
import { findMountAt, isMountOf, resolveTarget } from "./mountpoint.ts";

/** Unmounts a volume from a directory. Throws NOT_FOUND when it is not what is mounted there, BUSY with the holders. */
export async function unmountVolume(
  steps: Steps,
  backend: Backend,
  address: VolumeAddress,
  target: string,
): Promise<void> {
  if (backend.directory) await unmountDirectory(steps, backend.directory, address, target);
  else if (backend.block) await unmountBlock(steps, await backend.block.look(address), target);
}

/** Unmounts the metadata of a mosaic. Throws as `unmountVolume`. */
export async function unmountMetadata(steps: Steps, backend: Backend, target: string): Promise<void> {
  if (typeof backend.metadata !== "function")
    return unmountBlock(steps, await backend.metadata.look(), target);
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

async function unmountBlock(steps: Steps, volume: LookedBlockVolume, target: string): Promise<void> {
  try {
    const { device } = volume;
    await unmountWhere(
      steps,
      target,
      (mount) => device !== undefined && findDeviceMounts(device.path, device.number, [mount]).length > 0,
    );
    if (!steps.planning) await volume.settle();
  } finally {
    await volume.close();
  }
}

async function unmountWhere(steps: Steps, target: string, isOurs: (mount: Mount) => boolean): Promise<void> {
  const path = resolveTarget(target);
  const mount = findMountAt(path);
  if (!mount || !isOurs(mount)) throw notMounted(target, path, mount);
  try {
    await detachMount(steps, path);
  } catch (thrown) {
    if (hasErrno(thrown, "EBUSY")) throw busyMount(mount, thrown);
    // Another process unmounted it between our look and this call.
    const isGone = hasErrno(thrown, "EINVAL", "ENOENT") && !isThere(mount);
    throw isGone ? notMounted(target, path, findMountAt(path), thrown) : thrown;
  }
  if (steps.planning || !isThere(mount)) return;
  throw new MosaicError("BUSY", `${quote(path)} is still mounted after its umount`, {
    holders: [toHolder(mount)],
  });
}

/** Whether a mount is still there; its id alone may be that of a new one already. */
function isThere({ id, mountPoint, device }: Mount): boolean {
  return readOwnMounts().some(
    (other) => other.id === id && other.mountPoint === mountPoint && other.device === device,
  );
}

function notMounted(target: string, path: string, other: Mount | undefined, cause?: unknown): MosaicError {
  const found = other ? `what is mounted there is ${quote(other.source)}` : "nothing is mounted there";
  const details = { mountPoint: path, reason: "not-mounted", found: other?.source ?? null };
  return new MosaicError("NOT_FOUND", `it is not mounted at ${quote(target)}: ${found}`, details, cause);
}

function busyMount(mount: Mount, cause: unknown): MosaicError {
  const inside = readAllMounts().filter((other) => other.parentId === mount.id);
  const processes = findProcesses("", (open) => isAtOrBelow(open, mount.mountPoint));
  const holders = [...inside.map(toHolder), ...processes];
  const shown =
    holders.length > 0 ? holders.slice(0, 5).map(describeHolder).join("; ") : "the kernel says so";
  return new MosaicError("BUSY", `${quote(mount.mountPoint)} is busy: ${shown}`, { holders }, cause);
}
