import { join } from "node:path";
import type { Mosaic } from "../../src/index.ts";
import { type Bed, run } from "./beds.ts";
import { listBedDevices } from "./devices.ts";
import { until } from "./expect.ts";

// Volumes with something in them, of which the numbers can be compared.

/** Writes random bytes into a file of a volume, durably. */
function writeData(directory: string, name: string, megabytes: number): void {
  const file = join(directory, name);
  run("dd", "if=/dev/urandom", `of=${file}`, "bs=1M", `count=${megabytes}`, "conv=fsync", "status=none");
}

/** Makes a volume and writes into it while it is mounted; gives the path of its object. */
export async function makeFilled(bed: Bed, mosaic: Mosaic, name: string, megabytes: number): Promise<string> {
  await mosaic.createVolume(name, { kind: "fs", sizeBytes: 64 * 1024 ** 2 });
  await writeInto(bed, mosaic, name, megabytes);
  return join(bed.location, name);
}

/** Mounts a volume and writes random bytes into it, durably. */
export async function writeInto(bed: Bed, mosaic: Mosaic, name: string, megabytes: number): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume(name, mountPoint);
  writeData(mountPoint, `data-${megabytes}`, megabytes);
  await mosaic.unmountVolume(name, mountPoint);
  await until("the device to go", () => listBedDevices(bed).length === 0);
  run("sync", "-f", bed.location);
}
