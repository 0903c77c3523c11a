import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { attachMount, detachMount, openBindMount, openDeviceMount } from "../../src/system/mounting.ts";
import { findMountOf, readAllMounts, readOwnMounts } from "../../src/system/mounts.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

describeOnBed({ name: "mounting", backend: "plain", filesystem: "ext4" }, testMounting, 256 * 1024 ** 2);

const mountAt = (path: string) => readOwnMounts().find((mount) => mount.mountPoint === path);
const writeIn = (directory: string) => () => writeFileSync(join(directory, "written"), "x");

function testMounting(bed: Bed): void {
  const fds: number[] = [];
  let count = 0;

  afterEach(closeAll);

  function closeAll(): void {
    for (const fd of fds.splice(0)) closeSync(fd);
  }

  const open = (path: string): number => {
    const fd = openSync(path, "r");
    fds.push(fd);
    return fd;
  };

  function makeSource(): string {
    const path = join(bed.location, `source-${count++}`);
    mkdirSync(path);
    writeFileSync(join(path, "file"), "content");
    return path;
  }

  async function bind(path: string, readOnly: boolean): Promise<number> {
    const fd = await openBindMount(directSteps, path, open(path), readOnly);
    fds.push(fd);
    return fd;
  }

  function makeDevice(size: string, ...mkfs: string[]): string {
    const image = join(bed.directory, `image-${count++}`);
    run("truncate", "-s", size, image);
    if (mkfs.length > 0) run(...mkfs, image);
    return run("losetup", "--find", "--show", image).trim();
  }

  /** A mount is busy while a descriptor of it is open. */
  async function closeAndUnmount(path: string): Promise<void> {
    closeAll();
    await detachMount(directSteps, path);
  }

  const ext4 = (device: string) =>
    ({ filesystem: "ext4", device, readOnly: false, filesystemReadOnly: false }) as const;

  test("a bind mount is nowhere until it is attached, and goes with its descriptor", async () => {
    const source = makeSource();
    const fd = await bind(source, false);
    expect(readFileSync(`/proc/self/fd/${fd}/file`, "utf8")).toBe("content");
    const root = source.slice(bed.location.length);
    expect(readAllMounts().filter((mount) => mount.root === root)).toEqual([]);
    const target = bed.makeMountPoint();
    await attachMount(directSteps, fd, open(target), target);
    expect(mountAt(target)).toMatchObject({ root, readOnly: false });
    expect(findMountOf(fd).mountPoint).toBe(target);
    writeIn(target)();
    expect(existsSync(join(source, "written"))).toBe(true);
    await closeAndUnmount(target);
    expect(mountAt(target)).toBeUndefined();
  });

  test("a read-only bind mount was never writable, before and after it is attached", async () => {
    const source = makeSource();
    const fd = await bind(source, true);
    expect(writeIn(`/proc/self/fd/${fd}`)).toThrow("EROFS");
    const target = bed.makeMountPoint();
    await attachMount(directSteps, fd, open(target), target);
    expect(mountAt(target)?.readOnly).toBe(true);
    expect(writeIn(target)).toThrow("EROFS");
    writeIn(source)();
    await closeAndUnmount(target);
  });

  test("a bind mount does not take along what is mounted below", async () => {
    const source = makeSource();
    mkdirSync(join(source, "inner"));
    run("mount", "-t", "tmpfs", "none", join(source, "inner"));
    writeFileSync(join(source, "inner/secret"), "");
    const fd = await bind(source, true);
    expect(readdirSync(`/proc/self/fd/${fd}/inner`)).toEqual([]);
    run("umount", join(source, "inner"));
  });

  test("a mount goes onto the directory that was opened, whatever its path is by then", async () => {
    const fd = await bind(makeSource(), false);
    const target = bed.makeMountPoint();
    const targetFd = open(target);
    run("mv", target, `${target}-moved`);
    mkdirSync(target);
    await attachMount(directSteps, fd, targetFd, target);
    expect(mountAt(target)).toBeUndefined();
    expect(existsSync(join(`${target}-moved`, "file"))).toBe(true);
    await closeAndUnmount(`${target}-moved`);
  });

  test("a busy mount is BUSY, and never unmounted lazily", async () => {
    const fd = await bind(makeSource(), false);
    const target = bed.makeMountPoint();
    await attachMount(directSteps, fd, open(target), target);
    closeAll();
    open(join(target, "file"));
    await expect(detachMount(directSteps, target)).rejects.toMatchObject({
      code: "BUSY",
      details: { errno: "EBUSY" },
    });
    expect(mountAt(target)).toBeDefined();
    await closeAndUnmount(target);
    expect(mountAt(target)).toBeUndefined();
  });

  test("what is no mount is not unmounted, nor what a link leads to", async () => {
    const target = bed.makeMountPoint();
    await expect(detachMount(directSteps, target)).rejects.toMatchObject({ details: { errno: "EINVAL" } });
    run("ln", "-s", bed.location, `${target}-link`);
    await expect(detachMount(directSteps, `${target}-link`)).rejects.toMatchObject({
      details: { errno: "EINVAL" },
    });
    expect(mountAt(bed.location)).toBeDefined();
  });

  test.each([
    [false, false, []],
    [true, false, ["nosuid", "nodev", "noexec"]],
    [false, true, []],
  ] as const)("a device is mounted: restricted %p, read-only %p", async (restricted, readOnly, flags) => {
    const device = makeDevice("16M", "mkfs.ext4", "-q");
    const mount = { ...ext4(device), restricted, readOnly, filesystemReadOnly: readOnly };
    const fd = await openDeviceMount(directSteps, mount);
    fds.push(fd);
    expect(readAllMounts().filter(({ source }) => source === device)).toEqual([]);
    const target = bed.makeMountPoint();
    await attachMount(directSteps, fd, open(target), target);
    const options = run("findmnt", "-n", "-o", "VFS-OPTIONS", target).trim().split(",");
    expect(options.filter((option) => option.startsWith("no"))).toEqual([...flags]);
    expect(mountAt(target)).toMatchObject({ source: device, filesystem: "ext4", readOnly });
    expect(mountAt(target)?.superOptions).toContain(readOnly ? "ro" : "rw");
    await closeAndUnmount(target);
  });

  test.each([
    ["nothing", []],
    ["an xfs", ["mkfs.xfs", "-q"]],
  ] as const)("a device that holds %s is not mounted as ext4", async (_what, mkfs) => {
    const device = makeDevice("320M", ...mkfs);
    await expect(openDeviceMount(directSteps, ext4(device))).rejects.toMatchObject({
      code: "DAMAGED",
      message: expect.stringContaining(`the kernel did not mount ${device} as ext4 (EINVAL): `),
      details: expect.objectContaining({ device }),
    });
  });

  test("the kernel's own words tell why a device is not mounted", async () => {
    const device = makeDevice("16M", "mkfs.ext4", "-q");
    await expect(openDeviceMount(directSteps, { ...ext4(device), flags: ["bogus"] })).rejects.toMatchObject({
      message: expect.stringContaining("Unknown parameter 'bogus'"),
    });
  });

  test("a filesystem that the kernel does not have is UNAVAILABLE, with the module to load", async () => {
    const mount = { ...ext4("/dev/null"), filesystem: "no-such-fs" };
    await expect(openDeviceMount(directSteps, mount)).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("this kernel has no no-such-fs (modprobe no-such-fs)"),
    });
  });

  test("a plan mounts nothing", async () => {
    const log: string[] = [];
    const steps = plannedSteps((text) => log.push(text));
    expect(await openBindMount(steps, "/p/a", -1, true)).toBe(-1);
    expect(await openDeviceMount(steps, { ...ext4("/dev/loopN"), restricted: true, flags: ["nouuid"] })).toBe(
      -1,
    );
    await attachMount(steps, -1, -1, "/p/m");
    await detachMount(steps, "/p/m");
    expect(log).toEqual([
      "mount --bind -o ro /p/a DETACHED",
      "mount -t ext4 -o rw,nosuid,nodev,noexec,nouuid /dev/loopN DETACHED",
      "mount --move DETACHED /p/m",
      "umount /p/m",
    ]);
  });
}
