import { constants, openSync, readFileSync } from "node:fs";
import { calling, unlessErrno } from "./errno.ts";
import { closeFd, listDirectory } from "./files.ts";
import { ioctl } from "./libc.ts";
import { type Steps, shellQuote } from "./steps.ts";

// The ioctls of linux/dm-ioctl.h that wait for nothing, udev included: those that look, as dmsetup(8) shows no column for
// the deferred removal, and two that change what no storage is behind. What else changes something is in dmsetup.ts.

const CONTROL = "/dev/mapper/control";
const DM_DEV_CREATE = 0xc138fd03;
const DM_DEV_REMOVE = 0xc138fd04;
const DM_DEV_STATUS = 0xc138fd07;
const DM_TABLE_STATUS = 0xc138fd0c;
const HEADER_BYTES = 312;
const DATA_BYTES = 16 * 1024;
const TARGET_BYTES = 40;
const OFFSET = {
  dataBytes: 12,
  dataStart: 16,
  targets: 20,
  open: 24,
  flags: 28,
  device: 40,
  name: 48,
  uuid: 176,
};
const FLAG = { readOnly: 1, suspended: 2, table: 1 << 4, live: 1 << 5, noFlush: 1 << 11, deferred: 1 << 17 };

/** A mapped device. */
export interface MappedDevice {
  readonly name: string;
  /** Empty when it has none. */
  readonly uuid: string;
  /** The node that the kernel makes, such as "/dev/dm-3", and its device number, such as "253:3". */
  readonly path: string;
  readonly number: string;
  readonly readOnly: boolean;
  readonly isSuspended: boolean;
  /** Whether it has a table in use: one without is no device yet. */
  readonly isLive: boolean;
  /** Whether it goes by itself with its last user. */
  readonly isDeferred: boolean;
}

/** One target of a table, or its status. */
export interface Target {
  readonly sectors: number;
  /** Such as "thin-pool". */
  readonly type: string;
  readonly words: readonly string[];
}

/** How a mapped device is named; device numbers are such as "253:3". */
export type DeviceKey = { readonly uuid: string } | { readonly name: string } | { readonly number: string };

/** A mapped device; undefined when there is none. */
export function findMappedDevice(key: DeviceKey): MappedDevice | undefined {
  const answer = ask(DM_DEV_STATUS, key, 0);
  return answer && describeDevice(answer);
}

/** The targets of the table in use. */
export function readTable(key: DeviceKey): Target[] {
  return readTargets(ask(DM_TABLE_STATUS, key, FLAG.table | FLAG.noFlush));
}

/** What each target of the table in use says of itself, without waiting until it has written anything. */
export function readTargetStatus(key: DeviceKey): Target[] {
  return readTargets(ask(DM_TABLE_STATUS, key, FLAG.noFlush));
}

/** The mapped devices that use another device, by the number of that one. */
export function listMappedUsers(number: string): MappedDevice[] {
  return listDirectory(`/sys/dev/block/${number}/holders`).flatMap((name) => {
    const path = `/sys/block/${name}/dev`;
    const other = unlessErrno(["ENOENT", "ENODEV"], () =>
      calling("read", path, () => readFileSync(path, "utf8")),
    );
    return other ? (findMappedDevice({ number: other.trim() }) ?? []) : [];
  });
}

/** Makes a mapped device without a table, which is nobody's yet: `dmsetup create --notable`. */
export function createMappedDevice(steps: Steps, name: string, uuid: string): Promise<void> {
  const text = shellQuote(["dmsetup", "create", name, "--notable", "--uuid", uuid]);
  const create = () => {
    const buffer = makeRequest({ name }, 0);
    buffer.write(uuid, OFFSET.uuid);
    control(DM_DEV_CREATE, buffer, name);
  };
  return steps.take<void>({ text, kind: "call" }, create, undefined);
}

/** Lets a device go with its last user; one that nothing uses goes at once. */
export function deferRemoval(steps: Steps, name: string): Promise<void> {
  const text = shellQuote(["dmsetup", "remove", "--deferred", name]);
  const remove = () => control(DM_DEV_REMOVE, makeRequest({ name }, FLAG.deferred), name);
  return steps.take<void>({ text, kind: "call" }, remove, undefined);
}

/** The answer to a question; undefined when there is no such device, or no device-mapper. */
function ask(request: number, key: DeviceKey, flags: number): Buffer | undefined {
  const subject = "uuid" in key ? key.uuid : "name" in key ? key.name : key.number;
  const buffer = makeRequest(key, flags);
  return unlessErrno(["ENOENT", "ENODEV", "ENXIO"], () => {
    control(request, buffer, subject);
    return buffer;
  });
}

function makeRequest(key: DeviceKey, flags: number): Buffer {
  const buffer = Buffer.alloc(DATA_BYTES);
  buffer.writeUInt32LE(4, 0);
  buffer.writeUInt32LE(DATA_BYTES, OFFSET.dataBytes);
  buffer.writeUInt32LE(HEADER_BYTES, OFFSET.dataStart);
  buffer.writeUInt32LE(flags, OFFSET.flags);
  writeKey(buffer, key);
  return buffer;
}

/** Gives a request to the kernel, which writes its answer there. */
function control(request: number, buffer: Buffer, subject: string): void {
  const fd = calling("open", CONTROL, () => openSync(CONTROL, constants.O_RDWR));
  try {
    ioctl(fd, request, buffer, subject);
  } finally {
    closeFd(fd);
  }
}

function writeKey(buffer: Buffer, key: DeviceKey): void {
  if ("uuid" in key) buffer.write(key.uuid, OFFSET.uuid);
  else if ("name" in key) buffer.write(key.name, OFFSET.name);
  else {
    // As the kernel encodes it: huge_encode_dev() in linux/kdev_t.h.
    const [major = 0, minor = 0] = key.number.split(":").map(Number);
    buffer.writeUInt32LE(((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, OFFSET.device);
  }
}

function describeDevice(buffer: Buffer): MappedDevice {
  const device = buffer.readUInt32LE(OFFSET.device);
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  const flags = buffer.readUInt32LE(OFFSET.flags);
  return {
    name: readText(buffer, OFFSET.name),
    uuid: readText(buffer, OFFSET.uuid),
    path: `/dev/dm-${minor}`,
    number: `${(device >>> 8) & 0xfff}:${minor}`,
    readOnly: (flags & FLAG.readOnly) !== 0,
    isSuspended: (flags & FLAG.suspended) !== 0,
    isLive: (flags & FLAG.live) !== 0,
    isDeferred: (flags & FLAG.deferred) !== 0,
  };
}

function readTargets(buffer: Buffer | undefined): Target[] {
  if (!buffer) return [];
  const start = buffer.readUInt32LE(OFFSET.dataStart);
  const targets: Target[] = [];
  for (let at = start; targets.length < buffer.readUInt32LE(OFFSET.targets); ) {
    const words = readText(buffer, at + TARGET_BYTES);
    const sectors = Number(buffer.readBigUInt64LE(at + 8));
    targets.push({ sectors, type: readText(buffer, at + 24), words: words.split(" ").filter(Boolean) });
    at = start + buffer.readUInt32LE(at + 20);
  }
  return targets;
}

function readText(buffer: Buffer, start: number): string {
  return buffer.toString("utf8", start, buffer.indexOf(0, start));
}
