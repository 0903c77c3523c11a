import { statfsSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import type { Finding } from "../../location/finding.ts";
import type { Location } from "../../location/location.ts";
import { rewriteRecord } from "../../location/rewrite.ts";
import { requireAllowed } from "../../location/sizes.ts";
import type { Store } from "../../location/store.ts";
import { listVolumes, lockVolume, openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { closeFd, listDirectory, openDirectory } from "../../system/files.ts";
import {
  findFreeProject,
  hasProjectQuota,
  isOwnProject,
  limitProject,
  QUOTA_BLOCK_BYTES,
  readProject,
  readProjectUse,
  setProject,
} from "../../system/projectquota.ts";
import type { Steps } from "../../system/steps.ts";
import type { ResizeOptions } from "../backend.ts";

// The sizes of directories, kept by the project quotas of ext4 and XFS where the config asks for it: each volume with a
// size is a project of its own, whose number lies on its directory.

const ADVICE: Readonly<Record<string, string>> = {
  ext4: "tune2fs -O quota,project -Q prjquota DEVICE while it is unmounted, then mount -o prjquota",
  xfs: "mount it anew with -o prjquota",
};

/** Why project quotas do not work at a location; undefined when they do. */
export function findProjectObstacle(location: Location): MosaicError | undefined {
  const { filesystem } = location.mount;
  if (!ADVICE[filesystem]) {
    const message = `the config says quota: project, but ${quote(location.path)} is on ${filesystem}: it needs ext4 or xfs`;
    return new MosaicError("UNSUPPORTED", message, { reason: "quota", filesystem });
  }
  if (!hasProjectQuota(location.fd)) {
    const command = ADVICE[filesystem];
    const message = `the config says quota: project, but the project quotas of ${quote(location.path)} are off: ${command}`;
    return new MosaicError("UNAVAILABLE", message, { reason: "quota", command });
  }
  const project = readProject(location.fd);
  if (project === undefined) return undefined;
  const message = `the location ${quote(location.path)} belongs to the project ${project}, so its volumes cannot have their own`;
  return new MosaicError("UNSUPPORTED", message, { reason: "quota", project });
}

/** Limits are multiples of this, in bytes: XFS rounds them to its blocks. */
export function findLimitStep({ path, mount }: Location): number {
  if (mount.filesystem !== "xfs") return QUOTA_BLOCK_BYTES;
  return calling("statfs", path, () => statfsSync(path)).bsize;
}

/** Gives an empty directory a limit: a project of its own. */
export async function limitDirectory(
  steps: Steps,
  location: Location,
  path: string,
  sizeBytes: number,
): Promise<void> {
  const project = steps.planning ? 0 : findFreeProject(location.fd);
  // The directory first: a limit that a killed run left without one would stay for ever.
  await setProject(steps, path, project);
  await limitProject(steps, location.fd, project, sizeBytes, location.path);
}

/** Takes away the limit that mosaic gave a directory. While quotas are off it stays, and harms nobody: its number is not given again. */
export async function unlimitDirectory(steps: Steps, location: Location, path: string): Promise<void> {
  const project = findOwnProject(path);
  if (project !== undefined && hasProjectQuota(location.fd))
    await limitProject(steps, location.fd, project, null, location.path);
}

function findOwnProject(path: string): number | undefined {
  const fd = unlessErrno(["ENOENT", "ENOTDIR", "ELOOP"], () => openDirectory(path));
  if (fd === undefined) return undefined;
  try {
    const project = unlessErrno(["ENOTTY", "EOPNOTSUPP", "ENOTSUP"], () => readProject(fd));
    return project !== undefined && isOwnProject(project) ? project : undefined;
  } finally {
    closeFd(fd);
  }
}

/** The limit of an open directory, in bytes. */
export function readDirectoryLimit(location: Location, fd: number): number | null {
  const project = readProject(fd);
  return project === undefined ? null : readProjectUse(location.fd, project).limitBytes;
}

/** Gives a directory another limit, also while it is used. */
export async function resizeDirectory(
  store: Store,
  address: VolumeAddress,
  sizeBytes: number,
  { shrink }: ResizeOptions,
) {
  const { steps, location } = store;
  const volume = await lockVolume(store, address);
  try {
    const project = readProject(volume.fd);
    const record = { ...volume.record, sizeBytes };
    if (project === undefined) {
      requireEmpty(address.name, volume.path);
      await rewriteRecord(store, volume, record, {
        apply: () => limitDirectory(steps, location, volume.path, sizeBytes),
        undo: () => freeDirectory(steps, location, volume.path),
      });
      return record;
    }
    const { limitBytes, usedBytes } = readProjectUse(location.fd, project);
    requireAllowed(address.name, sizeBytes, limitBytes, usedBytes, shrink);
    await rewriteRecord(store, volume, record, {
      apply: () => limitProject(steps, location.fd, project, sizeBytes, location.path),
      undo: () => limitProject(steps, location.fd, project, limitBytes, location.path),
    });
    return record;
  } finally {
    volume.close();
  }
}

async function freeDirectory(steps: Steps, location: Location, path: string): Promise<void> {
  await unlimitDirectory(steps, location, path);
  await setProject(steps, path, 0);
}

/** The files of a directory that was made without a size belong to no project, and would not be counted. */
function requireEmpty(name: string, path: string): void {
  if (listDirectory(path).length === 0) return;
  const message =
    "it was made without a size, so what is in it is not counted: make a volume with a size and copy the files";
  throw new MosaicError("UNSUPPORTED", message, { name });
}

/** What is wrong with the project quotas of a location and with the limits of its volumes. */
export function* checkProjects(store: Store): Generator<Finding> {
  const { location, form, steps } = store;
  const obstacle = findProjectObstacle(location);
  if (obstacle) {
    yield { code: "quota-off", severity: "problem", subject: location.path, message: obstacle.message };
    return;
  }
  for (const record of listVolumes(location, form)) {
    const volume = openVolume(store, record);
    try {
      const limitBytes = readDirectoryLimit(location, volume.fd);
      const project = readProject(volume.fd);
      if (limitBytes === record.sizeBytes) continue;
      yield {
        code: "quota-differs",
        severity: "problem",
        subject: record.name,
        message: `its record says ${record.sizeBytes ?? "no"} bytes, its limit is ${limitBytes ?? "none"}`,
        ...(project !== undefined && {
          repair: () => limitProject(steps, location.fd, project, record.sizeBytes, location.path),
        }),
      };
    } finally {
      volume.close();
    }
  }
}
