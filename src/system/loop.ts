import { constants, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno, systemError, unlessErrno } from "./errno.ts";
import { closeFd, type FileKey, fileKeyOf, toFileKey } from "./files.ts";
import { ioctl } from "./libc.ts";
import { isExportPath } from "./rundir.ts";
import { type Steps, shellQuote } from "./steps.ts";

// Loop devices by the ioctls of linux/loop.h and not by losetup(8): only LOOP_CONFIGURE takes a descriptor of the
// image in place of a path and sets autoclear in the same call, so that a killed run leaves no device.

const LOOP_CLR_FD = 0x4c01;
const LOOP_SET_STATUS64 = 0x4c04;
const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_SET_CAPACITY = 0x4c07;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
const INFO_BYTES = 232;
const CONFIG_BYTES = 304;
const FLAG = { readOnly: 1, autoclear: 4, directIo: 16 };
const SECTOR_BYTES = 512;
const ATTEMPTS = 64;
const DETACH_DEADLINE_MS = 5_000;

/** A loop device that has a backing file. */
export interface LoopDevice {
  /** Such as "/dev/loop3", and its device number, such as "7:3". */
  readonly path: string;
  readonly number: string;
  /** The backing file's identity; its path may have changed. */
  readonly file: FileKey;
  readonly readOnly: boolean;
  /** Whether the device goes by itself when nothing uses it any more. */
  readonly autoclear: boolean;
  /** Differs for each attachment of the same device name. */
  readonly diskseq: string;
}

/** A device that exists at least as long as `close` was not called. */
export interface OpenLoopDevice {
  readonly device: LoopDevice;
  close(): void;
}

/** All loop devices that have a backing file. */
export function listLoopDevices(): LoopDevice[] {
  return readdirSync("/sys/block")
    .filter((name) => /^loop\d+$/.test(name) && existsSync(`/sys/block/${name}/loop/backing_file`))
    .flatMap((name) => readLoopDevice(`/dev/${name}`) ?? []);
}

/** By which the device of an open file is found: a file that a storage daemon shows is known by its path. */
export function backingKeyOf(fd: number): FileKey {
  const path = calling("readlink", `fd ${fd}`, () => readlinkSync(`/proc/self/fd/${fd}`));
  return isExportPath(path) ? toExportKey(path) : fileKeyOf(fd);
}

/** By which the device of a file is found that a storage daemon shows at this path, also when the daemon is dead. */
export function toExportKey(path: string): FileKey {
  return path as FileKey;
}

/** The loop device of a file; undefined when it has none. Throws DAMAGED when it has two, which destroys data. */
export function findLoopDevice(file: FileKey): LoopDevice | undefined {
  const devices = listLoopDevices().filter((device) => device.file === file);
  if (devices.length < 2) return devices[0];
  const names = devices.map((device) => device.path);
  const message = `one image has several loop devices: ${names.join(", ")}; unmount and detach them with losetup -d`;
  throw new MosaicError("DAMAGED", message, { devices: names });
}

/** The path that the kernel shows for the image of a device, with " (deleted)" after it when it was removed; undefined when the device is gone. */
export function readBackingPath(device: Pick<LoopDevice, "path">): string | undefined {
  const path = `/sys/block/${device.path.slice("/dev/".length)}/loop/backing_file`;
  return unlessErrno(["ENOENT", "ENXIO"], () =>
    calling("read", path, () => readFileSync(path, "utf8")),
  )?.replace(/\n$/, "");
}

/** Makes an autoclear loop device of an open file and keeps it open: it goes with `close` unless something uses it. */
export function openLoopDevice(
  steps: Steps,
  path: string,
  fd: number,
  readOnly: boolean,
): Promise<OpenLoopDevice> {
  const argv = ["losetup", "--find", "--show", ...(readOnly ? ["--read-only"] : []), path];
  const planned: LoopDevice = {
    path: "/dev/loopN",
    number: "7:N",
    file: "" as FileKey,
    readOnly,
    autoclear: true,
    diskseq: "",
  };
  const step = { text: shellQuote(argv), kind: "call" } as const;
  return steps.take(step, () => configureFreeDevice(path, fd, readOnly), { device: planned, close() {} });
}

/** Makes a device stay when nothing uses it, until it is detached. */
export function keepLoopDevice(steps: Steps, device: LoopDevice): Promise<void> {
  return steps.take<void>(
    { text: `ioctl LOOP_SET_STATUS64 ${device.path} autoclear=off`, kind: "call" },
    () => setAutoclear(device, false),
    undefined,
  );
}

/** Makes a device as large as its image is now, also while it is used. */
export function updateCapacity(steps: Steps, device: LoopDevice, sizeBytes: number): Promise<void> {
  return steps.take<void>(
    { text: shellQuote(["losetup", "--set-capacity", device.path]), kind: "call" },
    () => setCapacity(device, sizeBytes),
    undefined,
  );
}

/** Detaches a device that nothing uses and waits until it is gone. Throws BUSY when it stays. */
export function detachLoopDevice(steps: Steps, device: LoopDevice): Promise<void> {
  return steps.take<void>(
    { text: shellQuote(["losetup", "-d", device.path]), kind: "call" },
    () => clearDevice(device),
    undefined,
  );
}

/** The device at a path such as "/dev/loop3"; undefined when it has no backing file. */
function readLoopDevice(path: string): LoopDevice | undefined {
  const fd = unlessErrno(["ENXIO", "ENOENT"], () => openDevice(path, constants.O_RDONLY));
  if (fd === undefined) return undefined;
  try {
    // The daemon of a file that is no longer where it was shown may be dead: nobody looks for such a device.
    return unlessErrno(["ENXIO", "ENOTCONN", "ECONNABORTED"], () => describeDevice(path, fd));
  } finally {
    closeFd(fd);
  }
}

function describeDevice(path: string, fd: number): LoopDevice {
  const name = path.slice("/dev/".length);
  const backing = readBackingPath({ path });
  const number = readSysfs(name, "dev");
  const device = { path, number, diskseq: readDiskseq(name) };
  // The ioctl would ask the storage daemon, which may be dead or stopped.
  if (backing !== undefined && isExportPath(backing)) {
    const [readOnly, autoclear] = [readSysfs(name, "ro") === "1", readSysfs(name, "loop/autoclear") === "1"];
    return { ...device, file: toExportKey(backing), readOnly, autoclear };
  }
  const info = readInfo(path, fd);
  const flags = info.readUInt32LE(52);
  return {
    ...device,
    file: toFileKey(info.readBigUInt64LE(0), info.readBigUInt64LE(8)),
    readOnly: (flags & FLAG.readOnly) !== 0,
    autoclear: (flags & FLAG.autoclear) !== 0,
  };
}

/** What sysfs says of a device. Throws ENXIO when it has no backing file any more. */
function readSysfs(name: string, attribute: string): string {
  const path = `/sys/block/${name}/${attribute}`;
  try {
    return calling("read", path, () => readFileSync(path, "utf8")).trim();
  } catch (thrown) {
    throw hasErrno(thrown, "ENOENT") ? systemError("read", path, "ENXIO", thrown) : thrown;
  }
}

/** Since Linux 5.15; before that the device number has to do. */
function readDiskseq(name: string): string {
  const path = `/sys/block/${name}/diskseq`;
  return existsSync(path) ? calling("read", path, () => readFileSync(path, "utf8")).trim() : name;
}

function readInfo(path: string, fd: number): Buffer {
  const info = Buffer.alloc(INFO_BYTES);
  ioctl(fd, LOOP_GET_STATUS64, info, path);
  return info;
}

function openDevice(path: string, flags: number): number {
  return calling("open", path, () => openSync(path, flags));
}

async function configureFreeDevice(path: string, fileFd: number, readOnly: boolean): Promise<OpenLoopDevice> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const opened = tryConfigure(path, fileFd, readOnly);
    if (opened) return opened;
    // Somebody else took the free device first: a random pause parts the two.
    await Bun.sleep(Math.random() * 20);
  }
  throw new MosaicError(
    "UNAVAILABLE",
    `cannot get a free loop device for ${quote(path)} in ${ATTEMPTS} attempts`,
  );
}

function tryConfigure(path: string, fileFd: number, readOnly: boolean): OpenLoopDevice | undefined {
  const devicePath = `/dev/loop${getFreeNumber()}`;
  const fd = openDevice(devicePath, readOnly ? constants.O_RDONLY : constants.O_RDWR);
  try {
    ioctl(fd, LOOP_CONFIGURE, makeConfig(path, fileFd, readOnly), devicePath);
  } catch (thrown) {
    closeFd(fd);
    if (hasErrno(thrown, "EBUSY")) return undefined;
    throw thrown;
  }
  const device = describeDevice(devicePath, fd);
  if (device.readOnly === readOnly) return { device, close: () => closeFd(fd) };
  closeFd(fd);
  throw new MosaicError(
    "UNAVAILABLE",
    `the kernel attached ${quote(path)} ${device.readOnly ? "read-only" : "writable"}, against what was asked`,
  );
}

function getFreeNumber(): number {
  const control = openDevice("/dev/loop-control", constants.O_RDWR);
  try {
    return ioctl(control, LOOP_CTL_GET_FREE, 0, "/dev/loop-control");
  } finally {
    closeFd(control);
  }
}

function makeConfig(path: string, fileFd: number, readOnly: boolean): Buffer {
  const config = Buffer.alloc(CONFIG_BYTES);
  const infoOffset = 8;
  config.writeUInt32LE(fileFd, 0);
  // Unsaid, the kernel takes what direct I/O on this file allows: 512 for one image, 4096 for its clone on XFS, and what
  // is inside no longer fits. Where 512 is too fine for direct I/O, the kernel falls back to buffered I/O.
  config.writeUInt32LE(SECTOR_BYTES, 4);
  // QEMU before 10.1 mixes up writes to an export that it gets at the same time, as direct I/O sends them: buffered ones
  // come one after another, under the lock of the inode.
  const directIo = isExportPath(path) ? 0 : FLAG.directIo;
  config.writeUInt32LE(FLAG.autoclear | directIo | (readOnly ? FLAG.readOnly : 0), infoOffset + 52);
  Buffer.from(path).copy(config, infoOffset + 56, 0, 63);
  return config;
}

function setAutoclear(device: LoopDevice, autoclear: boolean): void {
  const fd = openDevice(device.path, constants.O_RDONLY);
  try {
    const info = readInfo(device.path, fd);
    const flags = info.readUInt32LE(52);
    info.writeUInt32LE(autoclear ? flags | FLAG.autoclear : flags & ~FLAG.autoclear, 52);
    ioctl(fd, LOOP_SET_STATUS64, info, device.path);
    if (describeDevice(device.path, fd).autoclear === autoclear) return;
  } finally {
    closeFd(fd);
  }
  throw new MosaicError(
    "TOOL_FAILED",
    `the kernel did not ${autoclear ? "set" : "clear"} autoclear of ${device.path}`,
  );
}

function setCapacity(device: LoopDevice, sizeBytes: number): void {
  const fd = openDevice(device.path, constants.O_RDONLY);
  try {
    ioctl(fd, LOOP_SET_CAPACITY, 0, device.path);
  } finally {
    closeFd(fd);
  }
  const path = `/sys/block/${device.path.slice("/dev/".length)}/size`;
  const sectors = Number(calling("read", path, () => readFileSync(path, "utf8")));
  if (sectors === Math.floor(sizeBytes / SECTOR_BYTES)) return;
  const message = `${device.path} has ${sectors * SECTOR_BYTES} bytes after its image got ${sizeBytes}`;
  throw new MosaicError("TOOL_FAILED", message, { device: device.path });
}

async function clearDevice(device: LoopDevice): Promise<void> {
  const fd = openDevice(device.path, constants.O_RDONLY);
  try {
    // A device name is no identity: it may belong to another file by now.
    if (describeDevice(device.path, fd).diskseq !== device.diskseq) return;
    ioctl(fd, LOOP_CLR_FD, 0, device.path);
  } finally {
    closeFd(fd);
  }
  const deadline = performance.now() + DETACH_DEADLINE_MS;
  // The exit code says nothing: the kernel detaches at the last close.
  while (readLoopDevice(device.path)?.diskseq === device.diskseq) {
    if (performance.now() > deadline)
      throw new MosaicError("BUSY", `cannot detach ${device.path}: somebody still has it open`, {
        device: device.path,
      });
    await Bun.sleep(5);
  }
}
