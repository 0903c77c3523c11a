import { statSync } from "node:fs";
import { basename } from "node:path";
import { identityOf } from "../location/location.ts";
import type { VolumeRecord } from "../location/record.ts";
import { calling } from "../system/errno.ts";
import { type FileKey, fileKeyOf, toFileKey } from "../system/files.ts";
import {
  findDeviceMounts,
  findProcesses,
  findStackedDevices,
  type Holder,
  toHolder,
} from "../system/holders.ts";
import { findLoopDevice, type LoopDevice, listLoopDevices, toExportKey } from "../system/loop.ts";
import { isAtOrBelow, readAllMounts } from "../system/mounts.ts";
import { readServer } from "../system/nbdserver.ts";
import type { Steps } from "../system/steps.ts";
import { exportPathOf } from "../system/storagedaemon.ts";
import { closeExport } from "./exports.ts";
import type { ImageStore } from "./images.ts";
import { listServers, toServerHolder } from "./servers.ts";

const SETTLE_MS = 5_000;
const GLANCE_MS = 1_000;

/** The device of a raw file; one that nothing uses any more is going, which takes a moment. */
export async function settleDevice(key: FileKey): Promise<LoopDevice | undefined> {
  const start = performance.now();
  for (;;) {
    const device = findLoopDevice(key);
    if (!device?.autoclear) return device;
    const holders = findDeviceHolders(device);
    if (holders.some((holder) => holder.kind !== "process")) return device;
    // A process that has it open may only glance at it, and the device goes when it has closed it.
    if (performance.now() - start > (holders.length > 0 ? GLANCE_MS : SETTLE_MS)) return device;
    await Bun.sleep(5);
  }
}

/** Who has a file open that lies at `path`, beside this process and the one that shows its content as a file. */
export function findFileUsers(path: string, fd: number, daemon?: number): Holder[] {
  const key = fileKeyOf(fd);
  const isImage = (open: string, link: string) =>
    basename(open) === basename(path) && findKeyBehind(link) === key;
  return nameUsers(findProcesses(path, isImage), daemon);
}

/** Waits for the device of an export that is going, and then ends its daemon; one that stays keeps it. */
export async function settleExport(steps: Steps, directory: string): Promise<void> {
  if (!steps.planning) await settleDevice(toExportKey(exportPathOf(directory)));
  await closeExport(steps, directory);
}

/** Who has a file in a directory open, beside this process and the one that shows its content. */
export function findDirectoryUsers(path: string, daemon?: number): Holder[] {
  return nameUsers(
    findProcesses(path, (open) => isAtOrBelow(open, path)),
    daemon,
  );
}

/** A daemon that shows an image at a socket is named by that. */
function nameUsers(users: readonly Holder[], daemon: number | undefined): Holder[] {
  return users.flatMap((user) => {
    const server = user.kind === "process" ? readServer(user.pid) : undefined;
    if (server) return [toServerHolder(server)];
    return user.kind === "process" && user.pid === daemon ? [] : [user];
  });
}

/** Who holds an image: the device of its raw file, who uses that, and the processes that have a file of it open. */
export async function findImageHolders(key: FileKey, processes: () => Holder[]): Promise<Holder[]> {
  const device = await settleDevice(key);
  if (!device) return processes();
  const users = [...(await findLastingHolders(device)), ...processes()];
  // A device that only mounts use is not worth a word beside them.
  const isWorthNaming = !device.autoclear || users.length === 0;
  return isWorthNaming
    ? [{ kind: "device", device: device.path, attached: !device.autoclear }, ...users]
    : users;
}

function findDeviceHolders(device: LoopDevice): Holder[] {
  const mounts = findDeviceMounts(device.path, device.number).map(toHolder);
  const stacked = findStackedDevices(basename(device.path));
  return [...mounts, ...stacked, ...findProcesses(device.path, (open) => open === device.path)];
}

/** A program that only looks at a new device, such as udev's, is given a moment to go on. */
export async function findLastingHolders(device: LoopDevice): Promise<Holder[]> {
  const deadline = performance.now() + GLANCE_MS;
  for (;;) {
    const holders = findDeviceHolders(device);
    if (
      holders.some((holder) => holder.kind !== "process") ||
      holders.length === 0 ||
      performance.now() > deadline
    )
      return holders;
    await Bun.sleep(20);
  }
}

/** How images are used now. */
export function surveyImages({ images, location }: ImageStore) {
  const devices = new Map(listLoopDevices().map((device) => [device.file, device]));
  const mounts = devices.size > 0 ? readAllMounts() : [];
  const servers = listServers(identityOf(location));
  return (record: VolumeRecord) => {
    const device = devices.size > 0 ? devices.get(images.keyAt(record) as FileKey) : undefined;
    if (!device) return { attachedAs: servers.get(record.id) ?? null, mounts: [] };
    const attachedAs = device.autoclear ? null : device.path;
    return { attachedAs, mounts: findDeviceMounts(device.path, device.number, mounts).map(toHolder) };
  };
}

/** The file that a link in /proc leads to. */
function findKeyBehind(link: string): FileKey | undefined {
  const status = calling("stat", link, () => statSync(link, { bigint: true, throwIfNoEntry: false }));
  return status && toFileKey(status.dev, status.ino);
}
