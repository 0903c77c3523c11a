import { afterEach, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findDirectoryMounts, findProcesses, findStackedDevices } from "../../src/system/holders.ts";
import { findMountOf, isAtOrBelow, pathInFilesystem } from "../../src/system/mounts.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

for (const filesystem of ["ext4", "btrfs"] as const) {
  describeOnBed(
    { name: `holders on ${filesystem}`, backend: "plain", filesystem },
    testRealHolders,
    256 * 1024 ** 2,
  );
}

function testRealHolders(bed: Bed): void {
  const children: Bun.Subprocess[] = [];

  afterEach(async () => {
    for (const child of children.splice(0)) {
      child.kill("SIGKILL");
      await child.exited;
    }
  });

  /** Starts a shell that says "ready" when it has done its work, and then waits until it is killed. */
  async function start(argv: readonly string[], script: string, ...args: string[]): Promise<number> {
    const command = [...argv, "sh", "-c", `${script}; echo ready; exec sleep infinity`, ...args];
    const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
    children.push(child);
    const { value } = await child.stdout.getReader().read();
    expect(Buffer.from(value ?? []).toString()).toBe("ready\n");
    return child.pid;
  }

  function makeVolume(name: string) {
    const path = join(bed.location, name);
    mkdirSync(path);
    writeFileSync(join(path, "file"), "content");
    return placeOf(path);
  }

  function placeOf(path: string) {
    const fd = openSync(bed.location, "r");
    const mount = findMountOf(fd);
    closeSync(fd);
    return { path, device: mount.device, root: pathInFilesystem(mount, path) };
  }

  test("a bind mount in another mount namespace is found, and is gone with it", async () => {
    const place = makeVolume("unshared");
    const target = bed.makeMountPoint();
    const pid = await start(["unshare", "-m"], 'mount --bind -o ro "$0" "$1"', place.path, target);
    const namespace = readlinkSync(`/proc/${pid}/ns/mnt`);
    expect(namespace).not.toBe(readlinkSync("/proc/self/ns/mnt"));
    expect(findDirectoryMounts(place)).toEqual([
      { kind: "mount", path: target, pid, namespace, readOnly: true },
    ]);
    children[0]?.kill("SIGKILL");
    await children[0]?.exited;
    expect(findDirectoryMounts(place)).toEqual([]);
  });

  if (bed.row.filesystem === "btrfs") {
    test("a mount of a subvolume by its name is found", () => {
      const path = join(bed.location, "subvolume");
      run("btrfs", "-q", "subvolume", "create", path);
      const target = bed.makeMountPoint();
      run(
        "mount",
        "-t",
        "btrfs",
        "-o",
        "subvol=/subvolume",
        run("findmnt", "-n", "-o", "SOURCE", bed.location).trim(),
        target,
      );
      const place = placeOf(path);
      expect(findDirectoryMounts(place)).toMatchObject([{ kind: "mount", path: target }]);
      run("umount", target);
      expect(findDirectoryMounts(place)).toEqual([]);
    });
  }

  test("a process that works in a directory or has a file in it open is found", async () => {
    const place = makeVolume("worked-in");
    const inside = (path: string) => isAtOrBelow(path, place.path);
    const worker = await start([], 'cd "$0"', place.path);
    const reader = await start([], 'exec 7<"$0/file"', place.path);
    const holders = findProcesses("", inside);
    const [working, reading] = [worker, reader].map((pid) =>
      holders.find((holder) => holder.kind === "process" && holder.pid === pid),
    );
    // The shell may not have become sleep yet.
    const command = expect.stringMatching(/^(sh|sleep)$/) as string;
    expect(working).toEqual({ kind: "process", pid: worker, command, path: place.path });
    expect(reading).toEqual({
      kind: "process",
      pid: reader,
      command,
      path: join(place.path, "file"),
    });
    expect(holders).toHaveLength(2);
  });

  test("a process of this program that only waits for the lock is no holder, another program is", async () => {
    const place = makeVolume("waited-for");
    const wait = `require("node:fs").openSync(${JSON.stringify(place.path)}); console.log("ready"); setInterval(() => {}, 1e6)`;
    const waiter = Bun.spawn([process.execPath, "-e", wait], { stdout: "pipe" });
    children.push(waiter);
    await waiter.stdout.getReader().read();
    const inside = (path: string) => isAtOrBelow(path, place.path);
    expect(findProcesses(place.path, inside)).toEqual([]);
    expect(findProcesses("", inside)).toMatchObject([{ pid: waiter.pid }]);
    const other = await start([], 'exec 7<"$0"', place.path);
    expect(findProcesses(place.path, inside)).toMatchObject([{ pid: other }]);
  });

  test("a loop device on a loop device is stacked on it", () => {
    const image = join(bed.location, "image");
    run("truncate", "-s", "1M", image);
    const lower = run("losetup", "--find", "--show", image).trim();
    const upper = run("losetup", "--find", "--show", lower).trim();
    try {
      expect(findStackedDevices(lower.slice("/dev/".length))).toEqual([
        { kind: "device", device: upper, attached: false },
      ]);
      expect(findStackedDevices(upper.slice("/dev/".length))).toEqual([]);
    } finally {
      run("losetup", "-d", upper);
      run("losetup", "-d", lower);
    }
  });
}
