import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  type Bed,
  type BedRow,
  describeOnBed,
  makeTestDirectory,
  removeTestDirectory,
  run,
} from "../support/beds.ts";
import { describeInGuest } from "../support/guest.ts";

// What this tier is for: parts of the kernel that a host may lack.

const EXT4: BedRow = {
  name: "project quotas on ext4",
  backend: "plain",
  filesystem: "ext4",
  mkfs: ["-O", "quota,project", "-E", "quotatype=prjquota"],
  mount: ["prjquota"],
};
const XFS: BedRow = {
  name: "project quotas on xfs",
  backend: "plain",
  filesystem: "xfs",
  mount: ["prjquota"],
};

describeInGuest("the guest", () => {
  test("has a stock Debian kernel", () => {
    expect(run("uname", "-rv")).toMatch(/^\d+\.\d+\.\d+.*-amd64 .* Debian \d/);
  });

  describe("device-mapper", testDeviceMapper);
  describeOnBed(EXT4, (bed) => testProjectQuota(bed, limitOnExt4, "Disk quota exceeded"));
  describeOnBed(XFS, (bed) => testProjectQuota(bed, limitOnXfs, "No space left on device"));
});

function testDeviceMapper(): void {
  test.each(["thin-pool", "log-writes", "flakey"])("has the target %s", (target) => {
    run("modprobe", `dm-${target}`);
    expect(run("dmsetup", "targets")).toMatch(new RegExp(`^${target} +v\\d`, "m"));
  });

  test("maps a device", () => {
    const directory = makeTestDirectory("dm");
    const image = join(directory, "image");
    run("truncate", "-s", "1M", image);
    const device = run("losetup", "--find", "--show", image).trim();
    // There is no udev in the guest, and dmsetup makes no node of its own unless it is told.
    const dmsetup = (...argv: string[]) => run("env", "DM_DISABLE_UDEV=1", "dmsetup", ...argv);
    try {
      dmsetup("create", "mosaic-test", "--table", `0 1024 linear ${device} 1024`);
      run("sh", "-c", "echo mapped | dd of=/dev/mapper/mosaic-test conv=fsync,nocreat,notrunc");
      expect(readFileSync(image).indexOf("mapped\n")).toBe(1024 * 512);
    } finally {
      dmsetup("remove", "mosaic-test");
      removeTestDirectory(directory);
    }
  });
}

/** Limits what a directory and all in it may have to 1 MiB. */
type LimitProject = (directory: string, location: string) => void;

function limitOnExt4(directory: string, location: string): void {
  run("chattr", "-p", "7", "+P", directory);
  run("setquota", "-P", "7", "0", "1024", "0", "0", location);
}

function limitOnXfs(directory: string, location: string): void {
  run("xfs_quota", "-x", "-c", `project -s -p ${directory} 7`, "-c", "limit -p bhard=1m 7", location);
}

function testProjectQuota(bed: Bed, limit: LimitProject, words: string): void {
  test("end a file at the limit", () => {
    const directory = join(bed.location, "project");
    mkdirSync(directory);
    limit(directory, bed.location);
    const file = join(directory, "file");
    // On ext4 a process with this capability may go beyond all limits.
    const argv = [
      "setpriv",
      "--bounding-set=-sys_resource",
      "--inh-caps=-sys_resource",
      "dd",
      "if=/dev/zero",
    ];
    const result = Bun.spawnSync([...argv, "bs=64K", "count=32", `of=${file}`]);
    expect(result.stderr.toString()).toContain(words);
    expect(statSync(file).size).toBeWithin(960 * 1024, 1024 * 1024 + 1);
  });
}
