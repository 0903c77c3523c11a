import { expect, test } from "bun:test";
import { join } from "node:path";
import type { BedRow } from "../support/beds.ts";
import { describeOnBed, run } from "../support/beds.ts";
import {
  canGrowMountedExt4,
  checksum,
  expectSize,
  MIB,
  makeVolume,
  openWith,
  unmount,
} from "../support/resizing.ts";

// A container's root may lack CAP_SYS_RESOURCE, without which no ext4 grows while it is in use: here root has it.

const ROW: BedRow = { name: "loop on ext4", backend: "loop", filesystem: "ext4", tier: "guest" };
const START = 32 * MIB;

describeOnBed(ROW, (bed) => {
  test("root may grow an ext4 in use", () => expect(canGrowMountedExt4()).toBe(true));

  test("ext4 grows while it is mounted, and what was not there can be written", async () => {
    await using mosaic = await openWith(bed, "ext4");
    const sum = await makeVolume(bed, mosaic, START);
    const mountPoint = bed.makeMountPoint();
    await mosaic.mountVolume("web", mountPoint);
    expect((await mosaic.resizeVolume("web", 2 * START)).sizeBytes).toBe(2 * START);
    run("fallocate", "-l", String(START), join(mountPoint, "more"));
    expect(checksum(join(mountPoint, "data"))).toBe(sum);
    await unmount(bed, mosaic, mountPoint);
    await expectSize(bed, mosaic, "ext4", 2 * START, sum);
    await mosaic.dropVolume("web");
  });

  test("ext4 grows while it is attached, with its device", async () => {
    await using mosaic = await openWith(bed, "ext4");
    const sum = await makeVolume(bed, mosaic, START);
    const device = await mosaic.attachVolume("web");
    await mosaic.resizeVolume("web", 2 * START);
    expect(Number(run("blockdev", "--getsize64", device))).toBe(2 * START);
    await mosaic.detachVolume("web");
    await expectSize(bed, mosaic, "ext4", 2 * START, sum);
    await mosaic.dropVolume("web");
  });
});
