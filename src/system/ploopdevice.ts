import { closeSync, openSync, readFileSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, unlessErrno } from "./errno.ts";
import { closeFd, findStatus, openPath } from "./files.ts";
import { attachMount, detachMount, openBindMount } from "./mounting.ts";
import { replaceRunFile } from "./rundir.ts";
import { queryTool, runTool } from "./runner.ts";
import type { Steps } from "./steps.ts";
import { exportPathOf, isShownHere, prepareDirectory, removeDaemon } from "./storagedaemon.ts";

// The kernel of OpenVZ shows a disk of ploop as a block device: ploop(8). That device is mounted over the file of an export, as
// a storage daemon mounts what it shows. A note there says which disk it is, from before the kernel is told to show it.

const NOTE_NAME = "ploop";
const O_PATH = 0o10000000;
/** It looks through the images of a disk that was not closed. */
const DEADLINE_MS = 24 * 3600 * 1000;
/** What ploop(8) exits with for a disk that is not mounted: SYSEXIT_DEV_NOT_MOUNTED in libploop.h. */
const NOT_MOUNTED = 40;

/** The descriptor of the disk that the kernel shows in the directory of an export; undefined where it shows none. */
export function findMountedDisk(directory: string): string | undefined {
  const path = `${directory}/${NOTE_NAME}`;
  return unlessErrno(["ENOENT"], () => calling("read", path, () => readFileSync(path, "utf8")));
}

/** Shows a disk, or its partition, as the file of an export that this process has locked. Throws BUSY for a disk that another program has mounted. */
export async function mountDisk(
  steps: Steps,
  directory: string,
  descriptor: string,
  part: "disk" | "partition",
  readOnly: boolean,
): Promise<void> {
  const path = exportPathOf(directory);
  if (!steps.planning) {
    const found = await findDevice(steps, descriptor, "disk");
    if (found !== undefined) {
      const holders = [{ kind: "device", device: found, attached: true }];
      throw new MosaicError("BUSY", `it is mounted already, as ${found}`, { device: found, holders });
    }
    prepareDirectory(directory);
    replaceRunFile(`${directory}/${NOTE_NAME}`, descriptor);
    if (!findStatus(path)) closeSync(calling("open", path, () => openSync(path, "wx", 0o600)));
  }
  const args = ["mount", ...(readOnly ? ["-r"] : []), descriptor];
  await runTool(steps, "ploop", args, { deadlineMs: DEADLINE_MS });
  const device = steps.planning ? "/dev/ploopN" : await findDevice(steps, descriptor, part);
  if (device === undefined) {
    const message = `ploop mount made no device of the ${part} of ${quote(descriptor)}`;
    throw new MosaicError("TOOL_FAILED", message, { descriptor, part });
  }
  await placeDevice(steps, device, path);
}

/** Ends what `mountDisk` began, also where that came only a part of the way. Throws TOOL_FAILED while the device is used. */
export async function unmountDisk(steps: Steps, directory: string, descriptor: string): Promise<void> {
  if (isShownHere(directory)) await detachMount(steps, exportPathOf(directory));
  await runTool(steps, "ploop", ["umount", descriptor], { successCodes: [0, NOT_MOUNTED] });
  if (!steps.planning) await removeDaemon(directory);
}

/** The device of a disk or of its partition: `ploop info -d` writes "device: PATH" and "partition: PATH" for one that is mounted. */
async function findDevice(
  steps: Steps,
  descriptor: string,
  part: "disk" | "partition",
): Promise<string | undefined> {
  const options = { successCodes: [0, NOT_MOUNTED] };
  const { stdout } = await queryTool(steps, "ploop", ["info", "-d", descriptor], options);
  const word = part === "disk" ? "device" : "partition";
  return new RegExp(`^\\s*${word}:\\s*(/dev/\\S+)\\s*$`, "m").exec(stdout)?.[1];
}

async function placeDevice(steps: Steps, device: string, path: string): Promise<void> {
  // A name below /dev/mapper is a link to the node.
  const openDevice = () => calling("open", device, () => openSync(device, O_PATH));
  const [deviceFd, targetFd] = steps.planning ? [-1, -1] : [openDevice(), openPath(path, O_PATH)];
  try {
    const mountFd = await openBindMount(steps, device, deviceFd, false);
    try {
      await attachMount(steps, mountFd, targetFd, path);
    } finally {
      if (mountFd >= 0) closeFd(mountFd);
    }
  } finally {
    if (!steps.planning) for (const fd of [deviceFd, targetFd]) closeFd(fd);
  }
}
