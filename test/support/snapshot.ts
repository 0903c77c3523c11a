import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { NO_ATTRIBUTES, unlessErrno } from "../../src/system/errno.ts";
import { findStatus } from "../../src/system/files.ts";
import { getAttribute } from "../../src/system/libc.ts";
import { listLoopDevices } from "../../src/system/loop.ts";
import { readOwnMounts } from "../../src/system/mounts.ts";
import { daemonsBelow, run } from "./beds.ts";

/** Everything below a directory that a test may compare: names, modes, inodes, sizes, records and marks, small contents. */
export function snapshotTree(directory: string): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (path: string) => {
    for (const name of readdirSync(path).sort()) {
      const child = join(path, name);
      found[relative(directory, child)] = describe(child);
      if (findStatus(child)?.isDirectory()) visit(child);
    }
  };
  visit(directory);
  return found;
}

/** The loop devices whose image lies below a directory, by the paths of the images, or of the files that storage daemons show. */
export function loopImagesBelow(directory: string): string[] {
  const shown = daemonsBelow(directory).map(({ path }) => path);
  return listLoopDevices()
    .map((device) => run("losetup", "-n", "-O", "BACK-FILE", device.path).trim())
    .filter((path) => path.startsWith(`${directory}/`) || shown.includes(path));
}

/** The mount points below a directory. */
export function mountsBelow(directory: string): string[] {
  return readOwnMounts()
    .map((mount) => mount.mountPoint)
    .filter((path) => path.startsWith(`${directory}/`));
}

function describe(path: string): string {
  const status = findStatus(path);
  if (!status) return "gone";
  const attributes = ["trusted.mosaic.volume", "trusted.mosaic.parent"].map(
    (name) => unlessErrno(NO_ATTRIBUTES, () => getAttribute(path, name)) ?? "",
  );
  const content = status.isFile() && status.size < 4096n ? readFileSync(path, "latin1") : "";
  const link = status.isSymbolicLink() ? readlinkSync(path) : "";
  return [status.mode, status.ino, status.isFile() ? status.size : "", ...attributes, link, content].join(
    "|",
  );
}
