import { MosaicError, quote } from "../base/errors.ts";
import { checkLocation } from "../location/check.ts";
import type { Finding } from "../location/finding.ts";
import { isLockedPath } from "../location/locks.ts";
import type { VolumeRecord } from "../location/record.ts";
import { listVolumes, openVolume } from "../location/volumes.ts";
import { findStatus, toFileKey } from "../system/files.ts";
import { describeHolder, findDeviceMounts } from "../system/holders.ts";
import { type LoopDevice, listLoopDevices, readBackingPath } from "../system/loop.ts";
import { isFrozen } from "../system/mounting.ts";
import { isAtOrBelow, type Mount, pathFromHere, readAllMounts } from "../system/mounts.ts";
import { shellQuote } from "../system/steps.ts";
import { checkExports } from "./checkexports.ts";
import { findLastingHolders } from "./holders.ts";
import type { ImageStore } from "./images.ts";
import { resizeImage } from "./resize.ts";

/** What is wrong with the images of a location and with their devices, beside what can be wrong in every location. */
export async function* checkImages(store: ImageStore): AsyncGenerator<Finding> {
  yield* checkLocation(store);
  yield* checkExports(store);
  const devices = listLoopDevices();
  for (const device of devices) yield* checkBackingFile(store, device);
  const mounts = readAllMounts();
  for (const record of listVolumes(store.location, store.form))
    yield* checkImage(store, record, devices, mounts);
}

/** A device whose image was removed or replaced goes on with the old one, which nobody can reach by its name. */
async function* checkBackingFile(store: ImageStore, device: LoopDevice): AsyncGenerator<Finding> {
  const path = readBackingPath(device)?.replace(/ \(deleted\)$/, "");
  if (path === undefined || !isAtOrBelow(path, store.location.path)) return;
  const status = findStatus(path);
  if (status && toFileKey(status.dev, status.ino) === device.file) return;
  const holders = await findLastingHolders(device);
  const what = `its image ${quote(path)} was ${status ? "replaced" : "removed"} behind it`;
  const users = holders.map(describeHolder).join("; ");
  const copy = shellQuote(["cp", "--sparse=always", device.path, `${path}.saved`]);
  yield {
    code: "dead-device",
    severity: "problem",
    subject: device.path,
    message: users ? `${what}, and it is ${users}` : what,
    // What was in a removed image is nowhere else: no repair may end it.
    advice: `its data is only there now: save it if it is needed (${copy}), ${users ? "end its use, " : ""}then losetup -d ${device.path}`,
  };
}

async function* checkImage(
  store: ImageStore,
  record: VolumeRecord,
  devices: readonly LoopDevice[],
  mounts: readonly Mount[],
): AsyncGenerator<Finding> {
  const path = `${store.location.path}/${record.storedName}`;
  const status = findStatus(path);
  // A command that is at work on it makes devices, freezes and thaws.
  if (!status || isLockedPath(path)) return;
  const key = store.images.keyAt(record);
  const own = devices.filter((device) => device.file === key);
  if (own.length > 1) yield describeTwoDevices(record, own);
  yield* checkSize(store, record);
  for (const device of own)
    yield* checkDevice(record, device, findDeviceMounts(device.path, device.number, mounts));
}

function* checkSize(store: ImageStore, record: VolumeRecord): Generator<Finding> {
  let sizeBytes: number;
  try {
    const volume = openVolume(store, record);
    try {
      sizeBytes = store.images.sizeOf(volume);
    } finally {
      volume.close();
    }
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    yield { code: "image", severity: "problem", subject: record.name, message: thrown.message };
    return;
  }
  if (record.sizeBytes === sizeBytes) return;
  yield {
    code: "size-differs",
    severity: "problem",
    subject: record.name,
    message: `its record says ${record.sizeBytes} bytes, its image has ${sizeBytes}: a resize was cut off`,
    repair: async () => void (await resizeImage(store, record, sizeBytes, { shrink: false })),
  };
}

function describeTwoDevices(record: VolumeRecord, devices: readonly LoopDevice[]): Finding {
  const names = devices.map((device) => device.path);
  return {
    code: "two-devices",
    severity: "problem",
    subject: record.name,
    message: `its image has ${names.length} loop devices, ${names.join(", ")}: what both write is destroyed`,
    advice: `unmount what is mounted of them, then losetup -d all but one`,
  };
}

async function* checkDevice(
  record: VolumeRecord,
  device: LoopDevice,
  mounts: readonly Mount[],
): AsyncGenerator<Finding> {
  const frozen = mounts.find((mount) => isFrozen(mount));
  if (frozen) yield describeFrozen(record, frozen);
  if (mounts.length > 0 || !device.autoclear) return;
  const holders = await findLastingHolders(device);
  const current = listLoopDevices().find(({ diskseq }) => diskseq === device.diskseq);
  // Gone meanwhile as it should, or mounted or kept by a command that came to its end.
  if (!current?.autoclear || holders.some(({ kind }) => kind === "mount")) return;
  const users = holders.map(describeHolder).join("; ");
  yield {
    code: "stale-device",
    severity: "problem",
    subject: record.name,
    message: users
      ? `its device ${device.path} is to go, but it is ${users}`
      : `its device ${device.path} is to go, but a filesystem that is mounted nowhere has it, maybe a frozen one`,
    advice: users
      ? "end that use"
      : `mount ${device.path} somewhere, thaw it with fsfreeze --unfreeze, and unmount it`,
  };
}

function describeFrozen(record: VolumeRecord, mount: Mount): Finding {
  const advice = shellQuote(["fsfreeze", "--unfreeze", mount.mountPoint]);
  return {
    code: "frozen",
    severity: "problem",
    subject: record.name,
    message: `its filesystem, mounted at ${quote(mount.mountPoint)}, is frozen: whoever writes to it waits`,
    advice: pathFromHere(mount) === mount.mountPoint ? advice : `nsenter -m -t ${mount.pid} ${advice}`,
  };
}
