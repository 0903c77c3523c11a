import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  findFilesystemDriver,
  type KernelFeature,
  kernelRelease,
  listLoopFeatures,
  listSystemCalls,
} from "../../src/system/kernel.ts";
import { describeOnBed, run } from "../support/beds.ts";

const SOURCE = join(import.meta.dir, "../../src/system/kernel.ts");

test("the version is that of uname", () => {
  expect(kernelRelease()).toBe(run("uname", "-r").trim());
});

test("a kernel has the system calls of the versions up to its own", () => {
  const calls = listSystemCalls();
  expect(calls.map(({ name }) => name)).toEqual(["fsopen", "move_mount", "openat2", "mount_setattr"]);
  const toNumber = (version: string) =>
    version.split(".").reduce((sum, part) => sum * 1000 + Number.parseInt(part, 10), 0);
  const own = toNumber(kernelRelease().split(".").slice(0, 2).join("."));
  for (const { name, since, isRequired, isThere } of calls)
    expect({ name, isRequired, isThere }).toEqual({
      name,
      isRequired: true,
      isThere: own >= toNumber(since),
    });
});

describeOnBed(
  { name: "parts of the kernel", backend: "plain", filesystem: "ext4" },
  () => {
    test("drivers of filesystems are those of /proc/filesystems", () => {
      for (const type of ["ext4", "xfs", "btrfs"]) {
        // The look loads a module, so it comes first.
        const { isThere } = findFilesystemDriver(type);
        expect({ type, isThere }).toEqual({ type, isThere: listDrivers().includes(type) });
      }
      expect(findFilesystemDriver("nosuchfs").isThere).toBe(false);
    });

    test("what loop devices need is seen where it is, and missed where it is not", () => {
      expect(readFeatures()).toEqual({
        loop: existsSync("/dev/loop-control"),
        diskseq: run("sh", "-c", "ls /sys/block/*/diskseq 2>&1 || true").includes("/diskseq\n"),
      });
      expect(readFeatures("mount -t tmpfs none /dev")).toMatchObject({ loop: false });
      const cover = "mount -t tmpfs none /sys/block";
      expect(readFeatures(cover)).toMatchObject({ loop: true, diskseq: false });
      // Another disk tells it as well, as long as there is no loop device.
      const disk = "mkdir /sys/block/vdx; echo 1 >/sys/block/vdx/diskseq";
      expect(readFeatures(`${cover}; ${disk}`)).toMatchObject({ loop: true, diskseq: true });
    });
  },
  16 * 1024 ** 2,
);

function listDrivers(): string[] {
  return readFileSync("/proc/filesystems", "utf8")
    .split("\n")
    .map((line) => line.split("\t")[1] ?? "");
}

/** Which features are there, in a mount namespace that a line of shell has changed. */
function readFeatures(change?: string): Record<string, boolean> {
  const features = change === undefined ? listLoopFeatures() : readChanged(change);
  return Object.fromEntries(features.map(({ name, isThere }) => [name, isThere]));
}

function readChanged(change: string): KernelFeature[] {
  const code = `
    const { listLoopFeatures } = await import("${SOURCE}");
    console.log(JSON.stringify(listLoopFeatures()));`;
  const script = `set -e; ${change}; exec "$0" -e "$1"`;
  return JSON.parse(run("unshare", "-m", "sh", "-c", script, process.execPath, code));
}
