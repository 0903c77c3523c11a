import { mkdirSync, statSync } from "node:fs";
import { basename } from "node:path";
import { MosaicError, quote } from "../../base/errors.ts";
import { FILESYSTEM_NAMES, filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import { adoptVolume, publishVolume } from "../../location/changes.ts";
import { locationMembers } from "../../location/core.ts";
import type { Form } from "../../location/form.ts";
import { openLocation } from "../../location/location.ts";
import type { Operation } from "../../location/operation.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { calling } from "../../system/errno.ts";
import { findDeviceMounts, toHolder } from "../../system/holders.ts";
import { readAllMounts } from "../../system/mounts.ts";
import type { Backend, BackendContext, Space } from "../backend.ts";
import { blockAccess, requireSizeOf } from "./access.ts";
import { examineThin, findKind } from "./adopt.ts";
import { checkThin } from "./check.ts";
import { cloneThin, whileActive } from "./clone.ts";
import { findThinDevice, findThinHolders } from "./devices.ts";
import { describeHealth } from "./health.ts";
import { requireList } from "./ledger.ts";
import { sweepDevices } from "./leftovers.ts";
import { blockMetadata } from "./metadata.ts";
import { findObject } from "./objects.ts";
import { requireCommitted } from "./overcommit.ts";
import { activatePool, findPool, type Pool } from "./pool.ts";
import { resizeThin } from "./resize.ts";
import { statThin } from "./stat.ts";
import type { ThinStore } from "./store.ts";
import { hasRecord, makeThin, removeThin, requireDroppable } from "./thin.ts";

const STATE_DIRECTORY = "/var/lib/mosaic";
const SIZE_STEP_BYTES = 4096;
/** The kernel counts the sectors of a thin device in 64 bits; a number here is exact below this. */
const SIZE_MAX_BYTES = 2 ** 52;

/** Volumes are thin devices of a pool of device-mapper; a directory has an object and a record for each. */
export function openDmthin(context: BackendContext): Backend {
  // Before anything is made: a location that is no pool of ours is an error of the config.
  findPool(context);
  const store = openStore(context);
  return {
    ...locationMembers(store),
    metadata: blockMetadata(store, context.defaultFilesystem ?? "ext4"),
    space: () => measurePool(store),
    pool: () => describeHealth(store.findPool()),
    limits: {
      kinds: ["fs", "disk"],
      sizeIsRequired: true,
      sizeStepBytes: SIZE_STEP_BYTES,
      sizeMaxBytes: SIZE_MAX_BYTES - SIZE_STEP_BYTES,
      filesystems: Object.fromEntries(
        FILESYSTEM_NAMES.map((name) => [name, filesystemOf(name).minimumBytes]),
      ),
    },
    create: (record) => publishVolume(store, record, (operation) => createThin(store, record, operation)),
    adopt: (record) => adoptVolume(store, record, (path, fd) => examineThin(store, record, path, fd)),
    survey: () => surveyThin(store),
    stat: (address) => statThin(store, address),
    check: () => checkThin(store),
    block: blockAccess(store),
    resize: (address, sizeBytes, options) => resizeThin(store, address, sizeBytes, options),
    clone: (origin, makeRecord) => cloneThin(store, origin, makeRecord),
  };
}

function openStore(context: BackendContext): ThinStore {
  const statePath = openState(context);
  const location = openLocation(`${statePath}/volumes`, {
    ...context,
    layoutPath: "",
    what: "directory of the key state",
  });
  const form: Form = {
    backend: "dmthin",
    description: "a file that names a device of the pool",
    matches: (status) => status.isFile() && status.nlink <= 1n,
    kindOf: (_steps, path) => findKind(store, path),
    holders: async (path) => {
      const pool = store.findPool();
      const object = findObject(path);
      return pool && object ? findThinHolders(pool, object.id) : [];
    },
    sweep: () => sweepDevices(store),
    release: () => requireDroppable(store),
    remove: (_steps, path) => removeThin(store, path, hasRecord(path)),
    removeLeft: (_steps, path) => removeThin(store, path, false),
  };
  const store: ThinStore = {
    ...context,
    location,
    form,
    statePath,
    findPool: () => findPool(context),
    openPool: () => openPool(context),
  };
  return store;
}

/** The pool, made active where the config says its devices. */
async function openPool(context: BackendContext): Promise<Pool> {
  const found = findPool(context);
  if (found) return found;
  if (context.pool) {
    await activatePool(context.steps, context.location, context.pool).catch((thrown) => {
      // Another command may have been first.
      if (!findPool(context)) throw thrown;
    });
  }
  const pool = findPool(context);
  if (pool) return pool;
  if (context.steps.planning) return plannedPool(context.location);
  const message = `the thin pool ${quote(context.location)} is not there after it was activated`;
  throw new MosaicError("UNAVAILABLE", message, { location: context.location });
}

/** In a plan a pool that is not active stays so. */
function plannedPool(location: string): Pool {
  return {
    name: basename(location),
    number: "253:N",
    metadata: "",
    data: "",
    blockBytes: 65_536,
    sizeBytes: 0,
  };
}

/** The directory that the config says, which must be there, or our own by the name of the pool. */
function openState({ state, location }: BackendContext): string {
  const path =
    state ?? `${STATE_DIRECTORY}/${basename(location).replaceAll(/[^A-Za-z0-9_.-]/g, toHexadecimal)}`;
  const status = calling("stat", path, () => statSync(path, { throwIfNoEntry: false }));
  if (state !== undefined && !status?.isDirectory()) {
    const message = `The directory ${quote(path)} of the key state is not there: make it (mkdir -m 700 ${path})`;
    throw new MosaicError("INVALID_CONFIG", message, { state: path });
  }
  // It holds nothing yet, and so is nothing that a plan could not make.
  calling("mkdir", path, () => mkdirSync(`${path}/volumes`, { mode: 0o700, recursive: true }));
  return path;
}

function toHexadecimal(character: string): string {
  return `%${character.charCodeAt(0).toString(16)}`;
}

async function createThin(store: ThinStore, record: VolumeRecord, operation: Operation): Promise<void> {
  const sizeBytes = requireSizeOf(record);
  const pool = await store.openPool();
  requireCommitted(store, pool.sizeBytes, sizeBytes);
  const { id } = await makeThin(store, operation.volumePath);
  const { filesystem } = record;
  if (filesystem === null || !isFilesystemName(filesystem)) return;
  await whileActive(store, { pool, sizeBytes }, id, operation.fd, (path) =>
    filesystemOf(filesystem).make(store.steps, path, operation.fd),
  );
}

/** The space of the pool; none while it is not active. */
function measurePool(store: ThinStore): Space {
  const { dataBytes, usedDataBytes } = describeHealth(store.findPool());
  const availableBytes = dataBytes - usedDataBytes;
  return { filesystem: "thin-pool", sizeBytes: dataBytes, usedBytes: usedDataBytes, availableBytes };
}

/** How the volumes are used now. */
function surveyThin(store: ThinStore) {
  const pool = store.findPool();
  if (pool) requireList(store.statePath, pool);
  const mounts = pool ? readAllMounts() : [];
  return ({ storedName }: VolumeRecord) => {
    const object = findObject(`${store.location.path}/${storedName}`);
    const device = pool && object ? findThinDevice(pool, object.id) : undefined;
    if (!device) return { attachedAs: null, mounts: [] };
    const attachedAs = device.isDeferred ? null : device.path;
    return { attachedAs, mounts: findDeviceMounts(device.path, device.number, mounts).map(toHolder) };
  };
}
