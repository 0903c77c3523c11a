import { constants, statfsSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno } from "../system/errno.ts";
import { closeFd } from "../system/files.ts";
import {
  type DirectoryPlace,
  findDirectoryMounts,
  findProcesses,
  type Holder,
  surveyDirectoryMounts,
} from "../system/holders.ts";
import { openBeneath } from "../system/libc.ts";
import { isAtOrBelow, readAllMounts } from "../system/mounts.ts";
import { dropVolume } from "./changes.ts";
import { checkLocation } from "./check.ts";
import { identityOf, type Location, placeInFilesystem } from "./location.ts";
import type { VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { measureTree } from "./tree.ts";
import {
  type Found,
  findVolume,
  type LockedVolume,
  listVolumes,
  lockVolume,
  openVolume,
  type VolumeAddress,
} from "./volumes.ts";

// What every backend that keeps volumes in a directory has in common.

/** The members of a backend that are the same whatever form its volumes have. */
export function locationMembers(store: Store) {
  const { location, form } = store;
  return {
    identity: identityOf(location),
    metadata: () => openMetadata(location),
    space: () => measureSpace(location),
    find: (address: VolumeAddress): Found => findVolume(location, form, address.storedName),
    list: () => listVolumes(location, form),
    drop: (address: VolumeAddress) => dropVolume(store, address),
    check: () => checkLocation(store),
    close: () => closeFd(location.fd),
  };
}

/** The way in for volumes that are directories. */
export function directoryAccess(store: Store) {
  return {
    async open(address: VolumeAddress): Promise<LockedVolume & { readonly place: DirectoryPlace }> {
      const volume = await lockVolume(store, address);
      return { ...volume, place: placeInFilesystem(store.location, volume.path) };
    },
  };
}

/** Who holds a directory: mounts of it and in it in every namespace, and processes that are in it. */
export async function findDirectoryHolders(location: Location, path: string): Promise<Holder[]> {
  const place = placeInFilesystem(location, path);
  return [...findDirectoryMounts(place), ...findProcesses(path, (open) => isAtOrBelow(open, path))];
}

/** What a volume that is a directory takes, its limit, and who holds it. */
export async function statDirectory(
  store: Store,
  address: VolumeAddress,
  readLimit: (fd: number) => number | null = () => null,
) {
  const volume = openVolume(store, address);
  try {
    const use = await measureTree(store.steps, store.location, volume.path);
    const holders = await store.form.holders(volume.path, volume.fd);
    return { record: volume.record, virtualBytes: readLimit(volume.fd), ...use, inside: null, holders };
  } finally {
    volume.close();
  }
}

/** How directories are used now. */
export function surveyDirectories(location: Location) {
  const mountsOf = surveyDirectoryMounts(readAllMounts());
  return (record: VolumeRecord) => ({
    attachedAs: null,
    mounts: mountsOf(placeInFilesystem(location, `${location.path}/${record.storedName}`)),
  });
}

function measureSpace({ path, mount }: Location) {
  const { bsize, blocks, bfree, bavail } = calling("statfs", path, () => statfsSync(path));
  return {
    filesystem: mount.filesystem,
    sizeBytes: blocks * bsize,
    usedBytes: (blocks - bfree) * bsize,
    availableBytes: bavail * bsize,
  };
}

function openMetadata(location: Location): DirectoryPlace & { readonly fd: number } {
  const path = location.layoutPath === "" ? location.path : `${location.path}/${location.layoutPath}`;
  try {
    const fd = openBeneath(
      location.fd,
      location.layoutPath || ".",
      constants.O_RDONLY | constants.O_DIRECTORY,
    );
    return { ...placeInFilesystem(location, path), fd };
  } catch (thrown) {
    if (!hasErrno(thrown, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV")) throw thrown;
    const message = `the metadata directory ${quote(path)} of the layout is not there: make it (mkdir ${path})`;
    throw new MosaicError("NOT_FOUND", message, { path, reason: "no-metadata-directory" }, thrown);
  }
}
