import { MosaicError, quote } from "../../base/errors.ts";
import { adoptVolume, publishVolume } from "../../location/changes.ts";
import { checkLocation } from "../../location/check.ts";
import {
  directoryAccess,
  findDirectoryHolders,
  locationMembers,
  statDirectory,
  surveyDirectories,
} from "../../location/core.ts";
import type { Form } from "../../location/form.ts";
import { type Location, openLocation } from "../../location/location.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import type { Store } from "../../location/store.ts";
import { lockVolume, type VolumeAddress } from "../../location/volumes.ts";
import {
  BTRFS_MAGIC,
  createSubvolume,
  deleteNestedSubvolumes,
  deleteSubvolume,
  isReadOnlySubvolume,
  listNestedSubvolumes,
  setReadOnlySubvolume,
  snapshotSubvolume,
} from "../../system/btrfs.ts";
import { closeFd, setMode } from "../../system/files.ts";
import { limitSubvolume, type QuotaMode, readQgroup } from "../../system/qgroups.ts";
import type { Steps } from "../../system/steps.ts";
import { type Backend, type BackendContext, TREE_LIMITS } from "../backend.ts";
import { checkQuota, clearLimit, findQuotaObstacle, makeRoom, resizeSubvolume } from "./quota.ts";

const SUBVOLUME_INODE = 256n;

/** Volumes are subvolumes, clones are snapshots. */
export function openBtrfs(context: BackendContext): Backend {
  const location = openLocation(context.location, context);
  if (location.filesystemMagic !== BTRFS_MAGIC) {
    closeFd(location.fd);
    throw context.wrongLocation(location.mount.filesystem, "a btrfs filesystem");
  }
  const { steps } = context;
  const store: Store = { ...context, location, form: subvolumeForm(location) };
  const quota = context.quota as QuotaMode | undefined;
  const sizeObstacle = quota && findQuotaObstacle(location, quota);
  const unlimit = async ({ sizeBytes }: VolumeRecord, { volumePath, fd }: Operation) => {
    if (sizeObstacle && sizeBytes !== null) throw sizeObstacle;
    if (quota !== undefined && !sizeObstacle) await clearLimit(steps, volumePath, fd);
  };
  const limit = async ({ sizeBytes }: VolumeRecord, { volumePath, fd }: Operation) => {
    if (quota !== undefined && sizeBytes !== null) await limitSubvolume(steps, volumePath, sizeBytes, fd);
  };
  return {
    ...locationMembers(store),
    sizeObstacle,
    ...(quota && {
      check: async function* () {
        yield* checkLocation(store);
        yield* checkQuota(store, quota);
      },
    }),
    ...(quota &&
      !sizeObstacle && {
        resize: (address, sizeBytes, options) => resizeSubvolume(store, address, sizeBytes, options),
      }),
    limits: TREE_LIMITS,
    create: (record) =>
      publishVolume(
        store,
        record,
        async (operation) => {
          await createSubvolume(steps, operation.volumePath, operation.fd);
          await setMode(steps, operation.volumePath, 0o700);
          await unlimit(record, operation);
        },
        (operation) => limit(record, operation),
      ),
    adopt: (record) =>
      adoptVolume(store, record, async (_path, fd) => ({
        ...record,
        sizeBytes: record.sizeBytes ?? (quota ? (readQgroup(fd)?.limitBytes ?? null) : null),
      })),
    survey: () => surveyDirectories(location),
    stat: (address) => statDirectory(store, address, (fd) => readQgroup(fd)?.limitBytes ?? null),
    directory: directoryAccess(store),
    async clone(origin, makeRecord) {
      const volume = await lockOrigin(store, origin);
      try {
        const record = makeRecord(volume.record);
        await publishVolume(
          store,
          record,
          async (operation) => {
            await snapshotSubvolume(steps, volume.path, operation.volumePath, operation.fd);
            await unlimit(record, operation);
          },
          (operation) => limit(record, operation),
        );
        return record;
      } finally {
        volume.close();
      }
    },
  };
}

/** A snapshot holds an empty directory where a nested subvolume was, so an origin with nested ones cannot be cloned. */
async function lockOrigin(store: Store, origin: VolumeAddress) {
  const volume = await lockVolume(store, origin);
  const nested = await listNestedSubvolumes(store.steps, volume.path).catch((thrown) => {
    volume.close();
    throw thrown;
  });
  if (nested.length === 0) return volume;
  volume.close();
  const message = `it has subvolumes inside, which a snapshot would leave out: ${nested.map(quote).join(", ")}`;
  throw new MosaicError("UNSUPPORTED", message, { name: origin.name, nested });
}

function subvolumeForm(location: Location): Form {
  return {
    backend: "btrfs",
    description: "a btrfs subvolume",
    matches: (status) => status.isDirectory() && status.ino === SUBVOLUME_INODE,
    holders: (path) => findDirectoryHolders(location, path),
    async release(steps, path) {
      const { readOnly, superOptions } = location.mount;
      // Where all is read-only the rename says so.
      if (readOnly || superOptions.includes("ro") || !isReadOnlySubvolume(path)) return async () => {};
      const takeRoomBack = await makeRoom(steps, path);
      // A read-only subvolume cannot be renamed: EROFS.
      await setReadOnlySubvolume(steps, path, false);
      return async () => {
        await setReadOnlySubvolume(steps, path, true);
        await takeRoomBack();
      };
    },
    remove: (steps, path, lockFd) => removeSubvolumes(steps, path, lockFd),
  };
}

/** What stands in a text for bytes that are none. */
const NO_TEXT = "\ufffd";

/** Removes a subvolume and those inside it, the deepest first. */
async function removeSubvolumes(steps: Steps, path: string, lockFd: number): Promise<void> {
  try {
    // The kernel refuses where others are inside; to look first would cost every drop two more commands.
    return await deleteSubvolume(steps, path, lockFd);
  } catch (thrown) {
    const isRefused = thrown instanceof MosaicError && thrown.code === "TOOL_FAILED";
    const nested = isRefused ? await listNestedSubvolumes(steps, path) : [];
    if (nested.length === 0) throw thrown;
    await removeNested(steps, path, nested, lockFd);
  }
  await deleteSubvolume(steps, path, lockFd);
}

async function removeNested(steps: Steps, path: string, nested: string[], lockFd: number): Promise<void> {
  // What is inside a read-only one cannot be removed before it is writable.
  if (isReadOnlySubvolume(path)) await setReadOnlySubvolume(steps, path, false);
  if (nested.some((inner) => inner.includes(NO_TEXT))) await deleteNestedSubvolumes(steps, path, lockFd);
  else for (const inner of nested) await removeSubvolumes(steps, inner, lockFd);
}
