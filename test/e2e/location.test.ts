import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  BEDS,
  type Bed,
  describeOnBed,
  makeTestDirectory,
  removeTestDirectory,
  run,
} from "../support/beds.ts";
import { createFs, expectRefusal, expectRefusalOf, MOCTL, moctl, succeed } from "./moctl.ts";
import { insideNamespace } from "./namespaces.ts";
import { runProgram } from "./program.ts";

// Where a mosaic may be, and who may work on it: an absent location is not an empty one.

const ACTIONS = [["list"], ["info"], ["have", "web"], ["create", "fs", "web", "16m"], ["drop", "web"]];

let directory: string;
beforeAll(() => {
  directory = makeTestDirectory("location");
});
afterAll(() => removeTestDirectory(directory));

function writeConfig(type: string, location: string, ...lines: readonly string[]): string {
  const path = join(directory, "location.mos");
  writeFileSync(path, [`type: ${type}`, `location: ${location}`, ...lines, ""].join("\n"), { mode: 0o644 });
  return path;
}

function makeDirectory(name: string, mode = 0o755): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  return path;
}

const WRONG: [string, string, () => string, number, string, string][] = [
  ["missing", "plain", () => join(directory, "missing"), 2, "INVALID_CONFIG", "found nothing"],
  ["a file", "plain", () => MOCTL, 2, "INVALID_CONFIG", "found a file"],
  ["below a file", "plain", () => join(MOCTL, "x"), 2, "INVALID_CONFIG", "expected a directory"],
  [
    "without subvolumes",
    "btrfs",
    () => makeDirectory("no-btrfs"),
    2,
    "INVALID_CONFIG",
    "expected a btrfs filesystem",
  ],
  ["writable by all", "plain", () => makeDirectory("open", 0o777), 2, "INVALID_CONFIG", "chmod go-w"],
  [
    "writable by all, and sticky",
    "plain",
    () => makeDirectory("sticky", 0o1777),
    2,
    "INVALID_CONFIG",
    "chmod go-w",
  ],
  ["writable by its group", "loop", () => makeDirectory("group", 0o775), 2, "INVALID_CONFIG", "chmod go-w"],
  ["a user's", "loop", () => makeUsers("users"), 2, "INVALID_CONFIG", "chown root"],
  ["on overlayfs", "plain", () => mountOverlay("overlay"), 8, "UNSUPPORTED", "overlayfs"],
  ["without attributes", "loop", () => mountSimple("ramfs"), 8, "UNSUPPORTED", "trusted extended attributes"],
];

test.each(WRONG)(
  "a location that is %s is refused by every action",
  (_what, type, makeLocation, exit, code, says) => {
    const config = writeConfig(type, makeLocation());
    for (const action of ACTIONS) expectRefusal(directory, [config, ...action], { exit, code, says });
  },
);

function makeUsers(name: string): string {
  const path = makeDirectory(name);
  chownSync(path, 65534, 65534);
  return path;
}

function mountSimple(filesystem: string): string {
  const path = makeDirectory(filesystem);
  run("mount", "-t", filesystem, "-o", "mode=755", "none", path);
  return path;
}

function mountOverlay(name: string): string {
  const [lower, upper, work, path] = ["lower", "upper", "work", ""].map((part) =>
    makeDirectory(join(name, part)),
  );
  run(
    "mount",
    "-t",
    "overlay",
    "-o",
    `lowerdir=${lower},upperdir=${upper},workdir=${work}`,
    "none",
    path ?? "",
  );
  return path ?? "";
}

// tmpfs keeps trusted attributes, so nothing speaks against it.
test.each(["plain", "loop"])("a %s mosaic can be on tmpfs", (type) => {
  const location = mountSimple("tmpfs");
  const config = writeConfig(type, location);
  const mountPoint = makeDirectory("mnt");
  succeed(config, "create", "fs", "a/web", ...(type === "loop" ? ["16m"] : []));
  succeed(config, "mount", "a/web", mountPoint);
  writeFileSync(join(mountPoint, "data"), "text");
  succeed(config, "umount", "a/web", mountPoint);
  succeed(config, "drop", "a/web");
  expect(readdirSync(location)).toEqual([]);
  run("umount", location);
});

test("requireMount: true wants a mount between the root and the location", () => {
  const location = makeDirectory("under-root");
  const config = writeConfig("plain", location, "requireMount: true");
  const isOnRoot = run("findmnt", "-n", "-o", "TARGET", "-T", location).trim() === "/";
  const refusal = { exit: 9, code: "UNAVAILABLE", says: "requireMount" };
  for (const action of isOnRoot ? ACTIONS : []) expectRefusal(directory, [config, ...action], refusal);
  run("mount", "-t", "tmpfs", "-o", "mode=755", "none", location);
  expect(succeed(config, "list")).toBe("");
  run("umount", location);
});

interface Fstab {
  readonly what: string;
  /** Lines, in which LOCATION is the location and PARENT the directory above it. */
  readonly lines: string;
  readonly isThere: boolean;
}

const FSTABS: readonly Fstab[] = [
  { what: "the location itself", lines: "/dev/sdz1 LOCATION ext4 defaults 0 2", isThere: false },
  { what: "a directory above it", lines: "/dev/sdz1\tPARENT\text4\tdefaults,noauto", isThere: false },
  { what: "others around it", lines: "# x\n\nUUID=1 / ext4 x 0 1\n/dev/sdz1 LOCATION ext4", isThere: false },
  { what: "a comment", lines: "# /dev/sdz1 LOCATION ext4 defaults 0 2\n", isThere: true },
  { what: "a neighbour", lines: "/dev/sdz1 LOCATION2 ext4 defaults 0 2\n", isThere: true },
  { what: "a directory below it", lines: "/dev/sdz1 LOCATION/below ext4 defaults 0 2\n", isThere: true },
  { what: "swap", lines: "/dev/sdz1 none swap sw 0 0\n", isThere: true },
  { what: "nothing", lines: "", isThere: true },
];

test.each(FSTABS.map((fstab) => [fstab.what, fstab] as const))("an fstab with %s", (_what, fstab) =>
  expectFstab(fstab),
);

test("an fstab whose filesystem is mounted", () => {
  const location = makeDirectory("parent/covered");
  run("mount", "-t", "tmpfs", "-o", "mode=755", "none", location);
  expectFstab({ what: "", lines: "/dev/sdz1 LOCATION ext4 defaults 0 2", isThere: true });
  run("umount", location);
});

test("an fstab with a slash at the end of its directory", () =>
  expectFstab({ what: "", lines: "/dev/sdz1 LOCATION/ ext4 defaults 0 2", isThere: false }));

test("an fstab that covers what a linked location leads to", () => {
  const location = makeDirectory("parent/covered");
  symlinkSync(location, join(directory, "short"));
  expectFstab(
    { what: "", lines: "/dev/sdz1 LOCATION ext4 defaults 0 2", isThere: false },
    join(directory, "short"),
  );
});

function expectFstab({ lines, isThere }: Fstab, said?: string): void {
  const location = makeDirectory("parent/covered");
  const config = writeConfig("plain", said ?? location);
  const fstab = join(directory, "fstab");
  writeFileSync(fstab, lines.replaceAll("LOCATION", location).replaceAll("PARENT", join(location, "..")));
  const setup = `mount -t tmpfs -o mode=755 none /etc && cp '${fstab}' /etc/fstab`;
  const refusal = { exit: 9, code: "UNAVAILABLE", says: "/etc/fstab" };
  if (isThere) expect(insideNamespace(setup, [config, "list"])).toEqual({ exit: 0, stdout: "", stderr: "" });
  else
    for (const action of ACTIONS)
      expectRefusalOf(
        (more) => insideNamespace(setup, [...more, config, ...action]),
        directory,
        refusal,
        action,
      );
}

describeOnBed(BEDS.plain[0], (bed) => {
  test("without root's privilege nothing is answered", () => refuseUser(bed));
});

function refuseUser(bed: Bed): void {
  createFs(bed, "web");
  chmodSync(bed.directory, 0o755);
  const program = join(bed.directory, "moctl");
  copyFileSync(MOCTL, program);
  chmodSync(program, 0o755);
  const ways = [
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"],
    ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"],
    ["unshare", "--user", "--map-root-user"],
  ];
  for (const way of ways)
    for (const action of ACTIONS) {
      const refusal = { exit: 1, code: "PERMISSION_DENIED", says: "Cannot see the records" };
      const as = (more: readonly string[]) => runProgram([...way, program, ...more, bed.config, ...action]);
      expectRefusalOf(as, bed.directory, refusal, [...way, ...action]);
    }
  expect(runProgram([...(ways[0] ?? []), program, "--help"]).exit).toBe(0);
  expect(moctl([bed.config, "have", "web"]).stdout).toBe("web exists: yes\n");
}
