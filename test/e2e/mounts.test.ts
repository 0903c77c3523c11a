import { afterEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readOwnMounts } from "../../src/system/mounts.ts";
import { ALL_BEDS, BEDS, type Bed, describeOnBed, needsSize, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { Holders } from "./holders.ts";
import { createFs, expectRefusal, moctl, succeed } from "./moctl.ts";

// Mounts land where they were asked for or nowhere; read-only is read-only; umount takes away only what it was told.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearBed(bed);
    });
    test("a mount point that is no directory is refused", () => refuseTargets(bed));
    test("a read-only mount is not writable in any way", () => refuseWrites(bed));
    test("a read-only mount beside a writable one, and the other way round", () => mountBeside(bed));
    test("a second mount at the same place is refused", () => refuseSecond(bed));
    test("umount leaves alone what is not the volume", () => refuseUmount(bed));
    test("a busy umount names the process, and leaves the mount", () => refuseBusyUmount(bed, holders));
    test("the metadata is mounted, read-only too, and unmounted", () => mountMetadata(bed));
  });
}

describeOnBed(BEDS.loop[0], (bed) => {
  const holders = new Holders();
  afterEach(async () => {
    await holders.release();
    clearBed(bed);
  });
  test("a mount point that is swapped for a link never leads the mount astray", async () => {
    const exits = await mountUnderSwaps(bed, holders);
    expect(exits.has(0)).toBe(true);
  });
  test("a mount point that is swapped meanwhile is refused as what it was found to be", async () => {
    const exits = await mountUnderSwaps(bed, holders);
    expect([...exits].filter(([exit]) => ![0, 2, 3].includes(exit ?? -1))).toEqual([]);
  });
});

function refuseTargets(bed: Bed): void {
  const work = join(bed.directory, "targets");
  mkdirSync(work);
  mkdirSync(join(work, "directory"));
  writeFileSync(join(work, "file"), "");
  symlinkSync("directory", join(work, "link"));
  symlinkSync("missing", join(work, "dangling"));
  createFs(bed, "web");
  const rows: [string, number, string][] = [
    [join(work, "link"), 2, "INVALID_ARGUMENT"],
    [join(work, "dangling"), 2, "INVALID_ARGUMENT"],
    [join(work, "file"), 2, "INVALID_ARGUMENT"],
    [join(work, "file/below"), 2, "INVALID_ARGUMENT"],
    ["", 2, "INVALID_ARGUMENT"],
    [join(work, "missing"), 3, "NOT_FOUND"],
  ];
  for (const [target, exit, code] of rows)
    for (const volume of ["web", "-"])
      expectRefusal(bed.directory, [bed.config, "mount", volume, target], {
        exit,
        code,
        says: "mount point",
      });
  succeed(bed.config, "mount", "web", join(work, "directory"));
  const refusal = { exit: 2, code: "INVALID_ARGUMENT", says: "symbolic link", times: false };
  expectRefusal(bed.directory, [bed.config, "umount", "web", join(work, "link")], refusal);
  succeed(bed.config, "umount", "web", join(work, "directory"));
}

const WRITES = [
  "touch data",
  "touch new",
  "mkdir new",
  "rm data",
  "mv data new",
  "chmod 600 data",
  "ln data new",
  "setfattr -n user.x -v y data",
];

function refuseWrites(bed: Bed): void {
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "web");
  succeed(bed.config, "mount", "web", mountPoint);
  writeFileSync(join(mountPoint, "data"), "text");
  succeed(bed.config, "umount", "web", mountPoint);
  const before = fingerprint(bed);
  succeed(bed.config, "mount", "-o", "ro", "web", mountPoint);
  for (const write of WRITES) expectReadOnly(mountPoint, write);
  expect(readFileSync(join(mountPoint, "data"), "utf8")).toBe("text");
  succeed(bed.config, "umount", "web", mountPoint);
  expect(fingerprint(bed)).toBe(before);
}

function expectReadOnly(directory: string, command: string): void {
  const { exitCode, stderr } = Bun.spawnSync(["sh", "-c", command], {
    cwd: directory,
    env: { ...process.env, LC_ALL: "C" },
  });
  expect({ command, failed: exitCode !== 0, stderr: stderr.toString() }).toEqual({
    command,
    failed: true,
    stderr: expect.stringContaining("Read-only file system"),
  });
}

/** All bytes of an image, or the names and times in a directory. */
function fingerprint(bed: Bed): string {
  const path = join(bed.location, "web");
  if (statSync(path).isDirectory()) return run("find", path, "-printf", "%P %y %m %s %T@ %C@\n");
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

function mountBeside(bed: Bed): void {
  const [first, second] = [bed.makeMountPoint(), bed.makeMountPoint()];
  createFs(bed, "web");
  succeed(bed.config, "mount", "web", first);
  writeFileSync(join(first, "data"), "one");
  succeed(bed.config, "mount", "-o", "ro", "web", second);
  expectReadOnly(second, "touch data");
  writeFileSync(join(first, "data"), "two");
  expect(readFileSync(join(second, "data"), "utf8")).toBe("two");
  succeed(bed.config, "umount", "web", first);
  expectReadOnly(second, "touch data");
  succeed(bed.config, "umount", "web", second);
  succeed(bed.config, "mount", "-o", "ro", "web", first);
  if (needsSize(bed.row)) {
    const refusal = { exit: 5, code: "BUSY", says: first, times: false };
    expectRefusal(bed.directory, [bed.config, "mount", "web", second], refusal);
  } else {
    succeed(bed.config, "mount", "web", second);
    writeFileSync(join(second, "data"), "three");
    expectReadOnly(first, "touch data");
    succeed(bed.config, "umount", "web", second);
  }
  succeed(bed.config, "umount", "web", first);
}

function refuseSecond(bed: Bed): void {
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "web");
  succeed(bed.config, "mount", "web", mountPoint);
  const refusal = { exit: 5, code: "BUSY", says: mountPoint, times: false };
  expectRefusal(bed.directory, [bed.config, "mount", "web", mountPoint], refusal);
  expectRefusal(bed.directory, [bed.config, "mount", "-o", "ro", "web", mountPoint], refusal);
  succeed(bed.config, "umount", "web", mountPoint);
}

function refuseUmount(bed: Bed): void {
  const [mountPoint, other] = [bed.makeMountPoint(), bed.makeMountPoint()];
  for (const name of ["web", "db"]) createFs(bed, name);
  run("mount", "-t", "tmpfs", "something", other);
  succeed(bed.config, "mount", "web", mountPoint);
  mkdirSync(join(mountPoint, "below"));
  const refusal = { exit: 3, code: "NOT_FOUND", says: "it is not mounted at", times: false };
  const wrong = [
    ["web", other],
    ["db", mountPoint],
    ["web", join(mountPoint, "below")],
    ["web", join(bed.directory, "missing")],
    ["web", bed.directory],
  ];
  for (const words of wrong) expectRefusal(bed.directory, [bed.config, "umount", ...words], refusal);
  expectRefusal(bed.directory, [bed.config, "umount", "-", mountPoint], refusal);
  run("mount", "-t", "tmpfs", "on-top", mountPoint);
  expectRefusal(bed.directory, [bed.config, "umount", "web", mountPoint], { ...refusal, says: "on-top" });
  run("umount", mountPoint);
  succeed(bed.config, "umount", "web", mountPoint);
  run("umount", other);
}

async function refuseBusyUmount(bed: Bed, holders: Holders): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "web");
  succeed(bed.config, "mount", "web", mountPoint);
  const pid = await holders.hold('cd "$1"', mountPoint);
  const refusal = { exit: 5, code: "BUSY", says: `process ${pid}`, times: false };
  const { details } = expectRefusal(bed.directory, [bed.config, "umount", "web", mountPoint], refusal);
  expect(details.holders).toEqual([{ kind: "process", pid, command: "sleep", path: mountPoint }]);
  await holders.release();
  succeed(bed.config, "umount", "web", mountPoint);
}

function mountMetadata(bed: Bed): void {
  const mountPoint = bed.makeMountPoint();
  succeed(bed.config, "mount", "-", mountPoint);
  writeFileSync(join(mountPoint, "vm.conf"), "memory");
  succeed(bed.config, "umount", "-", mountPoint);
  expect(readFileSync(join(bed.location, "vm.conf"), "utf8")).toBe("memory");
  succeed(bed.config, "mount", "-o", "ro", "-", mountPoint);
  expectReadOnly(mountPoint, "touch vm.conf");
  expectReadOnly(mountPoint, "mkdir new");
  succeed(bed.config, "umount", "-", mountPoint);
  expect(readdirSync(mountPoint)).toEqual([]);
}

const SWAP = `cd "$1"
set +e
while :; do mv -T target real; ln -sT victim target; rm target; mv -T real target; done 2>/dev/null &
`;

/** Mounts 50 times while the mount point is swapped; gives the exit codes with a message of each. */
async function mountUnderSwaps(bed: Bed, holders: Holders): Promise<Map<number | null, string>> {
  const work = join(bed.directory, "swap");
  for (const name of ["", "target", "victim"]) mkdirSync(join(work, name), { recursive: true });
  createFs(bed, "web");
  await holders.hold(SWAP, work);
  const exits = new Map<number | null, string>();
  for (let round = 0; round < 50; round++) {
    const { exit, stderr } = moctl([bed.config, "mount", "web", join(work, "target")]);
    exits.set(exit, stderr);
    expect(stderr).toMatch(exit === 0 ? /^$/ : /^moctl: Cannot mount "web": [^\n]*\n$/);
    const points = readOwnMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${work}/`));
    expect(points.map(({ mountPoint }) => mountPoint)).not.toContain(join(work, "victim"));
    expect(points).toHaveLength(exit === 0 ? 1 : 0);
    // What is mounted upon cannot be renamed, so this name stays.
    for (const { mountPoint } of points) run("umount", mountPoint);
  }
  return exits;
}
