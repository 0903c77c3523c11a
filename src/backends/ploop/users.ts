import { readFileSync } from "node:fs";
import { findDirectoryUsers } from "../../images/holders.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { findStatus, listDirectory, toFileKey } from "../../system/files.ts";
import type { Holder } from "../../system/holders.ts";
import { listLoopDevices } from "../../system/loop.ts";
import { isAtOrBelow } from "../../system/mounts.ts";
import { findMountedDisk } from "../../system/ploopdevice.ts";
import { findDaemon } from "../../system/storagedaemon.ts";

/** Who has an image of a disk open, beside this process and what shows it in an export: other programs, and the kernel for them. */
export function findDiskUsers(directory: string, exportDirectory?: string): Holder[] {
  const isOurs = exportDirectory !== undefined && findMountedDisk(exportDirectory) !== undefined;
  const daemon = exportDirectory === undefined ? undefined : findDaemon(exportDirectory);
  return [...(isOurs ? [] : findKernelUsers(directory)), ...findDirectoryUsers(directory, daemon)];
}

/**
 * What ploop(8) has mounted has no process: the kernel of Virtuozzo 7 has a device of its own and tells its images, that of Virtuozzo 9
 * a loop device of the image that is written.
 */
function findKernelUsers(directory: string): Holder[] {
  const files = listDirectory(directory).flatMap((name) => findStatus(`${directory}/${name}`) ?? []);
  const keys = new Set(files.map(({ dev, ino }) => toFileKey(dev, ino)));
  const loops = listLoopDevices().filter(({ file }) => keys.has(file));
  const own = listDirectory("/sys/block").filter((name) => hasDelta(name, directory));
  const devices = [...loops.map(({ path }) => path), ...own.map((name) => `/dev/${name}`)];
  return devices.map((device) => ({ kind: "device", device, attached: true }));
}

function hasDelta(device: string, directory: string): boolean {
  if (!device.startsWith("ploop")) return false;
  const deltas = `/sys/block/${device}/pdelta`;
  return listDirectory(deltas).some((index) => {
    const path = `${deltas}/${index}/image`;
    const image = unlessErrno(["ENOENT", "ENODEV"], () =>
      calling("read", path, () => readFileSync(path, "utf8")),
    );
    return image !== undefined && isAtOrBelow(image.trim(), directory);
  });
}
