import { readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { calling, unlessErrno } from "./errno.ts";

/** Where sysfs tells what a block device is, whatever its name is now; in the order of trust. */
const IDENTITIES = ["dm/uuid", "loop/backing_file", "wwid", "device/wwid", "serial", "device/serial"];

/** What the block device with this number, such as "7:3", is, the same after a reboot; null where the kernel does not tell. */
export function identifyDevice(number: string): string | null {
  const link = `/sys/dev/block/${number}`;
  const path = unlessErrno(["ENOENT"], () => calling("realpath", link, () => realpathSync(link)));
  if (path === undefined) return null;
  const partition = readValue(`${path}/partition`);
  const disk = partition === undefined ? path : dirname(path);
  for (const file of IDENTITIES) {
    const value = readValue(`${disk}/${file}`);
    if (value) return `${file} ${value}${partition === undefined ? "" : ` partition ${partition}`}`;
  }
  return null;
}

function readValue(path: string): string | undefined {
  return unlessErrno(["ENOENT", "ENOTDIR", "EINVAL"], () =>
    calling("read", path, () => readFileSync(path, "utf8")),
  )?.trim();
}
