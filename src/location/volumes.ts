import { type BigIntStats, constants, fstatSync, openSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { isNameComponent, type StoredName, type VolumeName } from "../base/names.ts";
import { calling, hasErrno, NO_ATTRIBUTES, unlessErrno } from "../system/errno.ts";
import { closeFd, fileKeyOf, findStatus, listDirectory } from "../system/files.ts";
import { getAttribute, openBeneath } from "../system/libc.ts";
import type { Form } from "./form.ts";
import type { Location } from "./location.ts";
import { takeLock } from "./locks.ts";
import { isParent, PARENT_ATTRIBUTE } from "./parents.ts";
import { parseRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";

const O_PATH = 0o10000000;

/** A volume's name and where the volume map puts it. */
export interface VolumeAddress {
  readonly name: VolumeName;
  readonly storedName: StoredName;
}

/** What is under a stored name: a volume, an object that is no volume of ours, or nothing. */
export type Found =
  | { readonly state: "volume"; readonly record: VolumeRecord }
  | {
      readonly state: "foreign";
      readonly why: string /** Whether adopt could make it a volume. */;
      readonly isAdoptable: boolean;
    }
  | { readonly state: "absent" };

/** What lies at an address, open and locked until it is closed. */
export interface LockedObject {
  readonly path: string;
  readonly fd: number;
  close(): void;
}

/** A volume, open and locked until it is closed. */
export interface LockedVolume extends LockedObject {
  readonly record: VolumeRecord;
}

/** What is under a stored name. Throws DAMAGED when a record contradicts its object. */
export function findVolume(location: Location, form: Form, name: StoredName): Found {
  const fd = openObject(location, name);
  if (typeof fd !== "number") return fd;
  try {
    return identify(form, name, fd);
  } finally {
    closeFd(fd);
  }
}

/** Opens a volume without its lock, to look at it. Throws NOT_FOUND, DAMAGED. */
export function openVolume({ location, form }: Store, address: VolumeAddress): LockedVolume {
  const fd = openObject(location, address.storedName);
  if (typeof fd !== "number") throw notFound(address, fd);
  try {
    const record = requireVolume(address, identify(form, address.storedName, fd));
    return { path: `${location.path}/${address.storedName}`, fd, record, close: () => closeFd(fd) };
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}

/** Opens a volume and takes its lock. Throws NOT_FOUND, LOCKED, DAMAGED. */
export async function lockVolume(store: Store, address: VolumeAddress): Promise<LockedVolume> {
  const { location, form } = store;
  const name = address.storedName;
  for (;;) {
    const object = await lockObject(store, address);
    try {
      // What was dropped or replaced while we waited is no volume any more.
      if (isStill(location, name, object.fd))
        return { ...object, record: requireVolume(address, identify(form, name, object.fd)) };
    } catch (thrown) {
      object.close();
      throw thrown;
    }
    object.close();
  }
}

/** Opens an object that is no volume yet and takes its lock. Throws NOT_FOUND, ALREADY_EXISTS, LOCKED. */
export async function lockForeign(store: Store, address: VolumeAddress): Promise<LockedObject> {
  for (;;) {
    const object = await lockObject(store, address);
    try {
      const found = identify(store.form, address.storedName, object.fd);
      if (found.state === "volume") throw alreadyVolume(found.record);
      if (isStill(store.location, address.storedName, object.fd)) return object;
    } catch (thrown) {
      object.close();
      throw thrown;
    }
    object.close();
  }
}

/** The records of all volumes, in the order of their names within each directory. */
export function* listVolumes(location: Location, form: Form, directory = ""): Generator<VolumeRecord> {
  for (const entry of listDirectory(`${location.path}/${directory}`).sort()) {
    const name = directory === "" ? entry : `${directory}/${entry}`;
    if (!isNameComponent(entry) || name === location.layoutPath) continue;
    const path = `${location.path}/${name}`;
    const value = readRecordAttribute(path);
    const record = value && matchRecord(form, name, value);
    const status = record && findStatus(path);
    if (record && status && hasOneName(status) && form.matches(status)) yield record;
    else if (!value && isParent(path)) yield* listVolumes(location, form, name);
  }
}

/** The record of what was found, when it is the volume of that name. Throws NOT_FOUND, which names the owner of the place. */
export function requireVolume(address: VolumeAddress, found: Found): VolumeRecord {
  if (found.state !== "volume") throw notFound(address, found);
  if (found.record.name === address.name) return found.record;
  const owner = found.record.name;
  const message = `there is no volume ${quote(address.name)}: its place ${quote(address.storedName)} belongs to the volume ${quote(owner)}`;
  throw new MosaicError("NOT_FOUND", message, { name: address.name, reason: "other-volume", owner });
}

function notFound({ name }: VolumeAddress, found: Found): MosaicError {
  const what = `there is no volume ${quote(name)}`;
  if (found.state !== "foreign") return new MosaicError("NOT_FOUND", what, { name, reason: "absent" });
  const message = `${what}: what lies in its place is foreign, ${found.why}`;
  return new MosaicError("NOT_FOUND", message, {
    name,
    reason: "foreign",
    why: found.why,
    isAdoptable: found.isAdoptable,
  });
}

/** ALREADY_EXISTS for a volume. */
export function alreadyVolume(record: VolumeRecord): MosaicError {
  return new MosaicError("ALREADY_EXISTS", `there is a volume ${quote(record.name)} already`, {
    name: record.name,
    id: record.id,
  });
}

/** Whether something is mounted at a name, or above it. */
export function isMountedOver(location: Location, name: string): boolean {
  try {
    closeFd(openBeneath(location.fd, name, O_PATH | constants.O_NOFOLLOW));
    return false;
  } catch (thrown) {
    if (hasErrno(thrown, "EXDEV")) return true;
    if (hasErrno(thrown, "ENOENT", "ENOTDIR", "ELOOP")) return false;
    throw thrown;
  }
}

/** Opens what lies under a name, without touching devices or FIFOs and without following links. */
export function openObject(location: Location, name: StoredName): number | Found {
  let pathFd: number;
  try {
    pathFd = openBeneath(location.fd, name, O_PATH | constants.O_NOFOLLOW);
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT", "ENOTDIR")) return { state: "absent" };
    if (hasErrno(thrown, "ELOOP")) return refused("a symbolic link is in the way");
    if (hasErrno(thrown, "EXDEV")) return refused("another filesystem is mounted there");
    throw thrown;
  }
  try {
    const status = fstatSync(pathFd);
    if (!status.isFile() && !status.isDirectory()) return refused("it is neither a file nor a directory");
    return calling("open", name, () =>
      openSync(`/proc/self/fd/${pathFd}`, constants.O_RDONLY | constants.O_NONBLOCK),
    );
  } finally {
    closeFd(pathFd);
  }
}

async function lockObject(store: Store, address: VolumeAddress): Promise<LockedObject> {
  const path = `${store.location.path}/${address.storedName}`;
  const fd = openObject(store.location, address.storedName);
  if (typeof fd !== "number") throw notFound(address, fd);
  try {
    const { lockTimeoutMs, steps } = store;
    await takeLock(fd, path, `the volume ${quote(address.name)}`, lockTimeoutMs, steps.signal);
    return { path, fd, close: () => closeFd(fd) };
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}

function isStill(location: Location, name: StoredName, fd: number): boolean {
  const again = openObject(location, name);
  if (typeof again !== "number") return false;
  try {
    return fileKeyOf(again) === fileKeyOf(fd);
  } finally {
    closeFd(again);
  }
}

function identify(form: Form, name: StoredName, fd: number): Found {
  const status = fstatSync(fd, { bigint: true });
  const value = getAttribute(fd, RECORD_ATTRIBUTE);
  if (!value && getAttribute(fd, PARENT_ATTRIBUTE)) return refused("it is a directory that holds volumes");
  if (!value) return { state: "foreign", why: "it has no record", isAdoptable: true };
  const record = matchRecord(form, name, value);
  if (!record) return { state: "foreign", why: describeMismatch(value), isAdoptable: true };
  if (!hasOneName(status)) return refused("its image has several hard links");
  if (form.matches(status)) return { state: "volume", record };
  const message = `the record of ${quote(name)} says it is ${form.description}, but it is not: look at it, and restore or remove it`;
  throw new MosaicError("DAMAGED", message, { name, recorded: form.description, record });
}

function describeMismatch(value: Buffer): string {
  return parseRecord(value)
    ? "its record is of another volume, so it is a copy"
    : "its record cannot be read: it is damaged, or of a later version";
}

/** An image with several hard links may be written under another name; one that was just replaced has none. */
function hasOneName(status: BigIntStats): boolean {
  return !status.isFile() || status.nlink <= 1n;
}

/** A foreign object that can never be a volume as it is. */
function refused(why: string): Found {
  return { state: "foreign", why, isAdoptable: false };
}

function matchRecord(form: Form, name: string, value: Buffer): VolumeRecord | undefined {
  const record = parseRecord(value);
  return record?.backend === form.backend && record.storedName === name ? record : undefined;
}

/** The value of the record's attribute at a path; undefined when there is none. */
export function readRecordAttribute(path: string): Buffer | undefined {
  return unlessErrno(["ENOENT", ...NO_ATTRIBUTES], () => getAttribute(path, RECORD_ATTRIBUTE));
}
