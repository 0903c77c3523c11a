import { describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import {
  findMountOf,
  isAtOrBelow,
  listProcesses,
  type Mount,
  parseMountinfoLine,
  pathInFilesystem,
  readAllMounts,
  readOwnMounts,
  unescapeOctal,
} from "../../src/system/mounts.ts";
import { describeOnBed, run } from "../support/beds.ts";

const BED = { name: "mount tables", backend: "plain", filesystem: "ext4" } as const;
const parse = (line: string) => parseMountinfoLine(line, "mnt:[1]", 42);

describe("a line of mountinfo", () => {
  test("with every field", () => {
    expect(parse("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue")).toEqual({
      id: 36,
      parentId: 35,
      device: "98:0",
      root: "/mnt1",
      mountPoint: "/mnt2",
      readOnly: false,
      filesystem: "ext3",
      source: "/dev/root",
      superOptions: ["rw", "errors=continue"],
      namespace: "mnt:[1]",
      pid: 42,
    });
  });

  test.each([
    ["", 0],
    ["shared:1 ", 1],
    ["shared:12 master:7 propagate_from:3 unbindable ", 4],
  ])("with the optional fields %j", (optional) => {
    expect(parse(`1 2 0:45 / /x ro,relatime ${optional}- btrfs /dev/loop1 rw`)).toMatchObject({
      readOnly: true,
      filesystem: "btrfs",
      source: "/dev/loop1",
      superOptions: ["rw"],
    });
  });

  test.each([
    ["1 2 0:45 / /a\\040b\\011c\\012d\\134e rw - ext4 /dev/x rw", { mountPoint: "/a b\tc\nd\\e" }],
    ["1 2 0:45 /a\\134040b / rw - ext4 /dev/x rw", { root: "/a\\040b" }],
    ["1 2 0:45 / / rw - nfs host:/a\\040b rw", { source: "host:/a b" }],
    ["1 2 0:45 / /- rw - ext4 - rw", { mountPoint: "/-", source: "-" }],
    ["1 2 0:45 / - rw - ext4 /dev/x rw", { mountPoint: "-", filesystem: "ext4" }],
    ["1 2 0:45 / /x rw - tmpfs  rw", { source: "", superOptions: ["rw"] }],
    ["1 2 0:45 / /x rw - fuse.sshfs a@b: rw,user_id=0", { filesystem: "fuse.sshfs", source: "a@b:" }],
    ["1 2 0:4 net:[4026531840] /run/netns/x rw - nsfs nsfs rw", { root: "net:[4026531840]" }],
    ["1 2 0:45 / /x nosuid,ro - ext4 /dev/x ro", { readOnly: true }],
    ["1 2 0:45 / /x rw,error=ro - ext4 /dev/x ro", { readOnly: false, superOptions: ["ro"] }],
  ])("as strange as %j", (line, mount) => {
    expect(parse(line)).toMatchObject(mount);
  });

  test.each(["", "x", "1 2 0:45 / /x rw", "1 2 0:45 / /x rw shared:1 ext4 /dev/x rw", "1 2 0:45 / /x rw -"])(
    "is not read when the kernel would not write it: %j",
    (line) => {
      expect(() => parse(line)).toThrow(
        expect.objectContaining({
          code: "INTERNAL",
          message: `Cannot read the mountinfo line ${JSON.stringify(line)}`,
        }),
      );
    },
  );
});

test("unescapeOctal leaves alone what is no escape", () => {
  expect(unescapeOctal("/a\\04/b\\999/\\/\\")).toBe("/a\\04/b\\999/\\/\\");
});

test.each([
  ["/a", "/a", true],
  ["/a/b", "/a", true],
  ["/ab", "/a", false],
  ["/", "/a", false],
  ["/a", "/", true],
  ["/", "/", true],
])("%j is at or below %j: %p", (path, directory, is) => {
  expect(isAtOrBelow(path, directory)).toBe(is);
});

test.each([
  ["/", "/", "/", "/"],
  ["/", "/", "/srv/a", "/srv/a"],
  ["/", "/srv", "/srv", "/"],
  ["/", "/srv", "/srv/a/b", "/a/b"],
  ["/vol", "/srv", "/srv", "/vol"],
  ["/vol", "/srv", "/srv/a", "/vol/a"],
  ["/vol", "/", "/a", "/vol/a"],
])("of the mount of %j at %j, %j is %j in its filesystem", (root, mountPoint, path, inside) => {
  const mount = parse(`1 2 0:45 ${root} ${mountPoint} rw - ext4 /dev/x rw`);
  expect(pathInFilesystem(mount, path)).toBe(inside);
});

describeOnBed(
  BED,
  (bed) => {
    test("the own mounts are those of findmnt", () => {
      const strange = join(bed.directory, "a b\tc\nd\\e\u00e9");
      mkdirSync(strange);
      mkdirSync(join(bed.location, "sub dir"));
      run("mount", "--bind", join(bed.location, "sub dir"), strange);
      run("mount", "-o", "remount,bind,ro", strange);
      // Something else on the host may mount between the two looks.
      let [ours, theirs] = readBoth();
      for (let attempt = 0; attempt < 20 && !Bun.deepEquals(ours, theirs); attempt++)
        [ours, theirs] = readBoth();
      expect(ours).toEqual(theirs);
      expect(ours.find((mount) => mount.mountPoint === strange)).toMatchObject({
        root: "/sub dir",
        readOnly: true,
        filesystem: "ext4",
      });
      run("umount", strange);
    });

    test("the mount of an open file is found, also where another mount hides its path", () => {
      const fd = openSync(bed.location, "r");
      const hiding = bed.makeMountPoint();
      try {
        const mount = findMountOf(fd);
        expect(mount).toMatchObject({ mountPoint: bed.location, root: "/", filesystem: "ext4" });
        run("mount", "--bind", hiding, bed.location);
        expect(findMountOf(fd).id).toBe(mount.id);
      } finally {
        closeSync(fd);
        run("umount", bed.location);
      }
    });

    test("all mounts have the own ones among them, each once", () => {
      const ids = readAllMounts().map((mount) => mount.id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids).toContain(Number(run("findmnt", "-n", "-o", "ID", bed.location)));
      expect(listProcesses()).toContain(process.pid);
    });
  },
  16 * 1024 ** 2,
);

interface FindmntRow {
  readonly id: number;
  readonly parent: number;
  readonly target: string;
  readonly source: string;
  readonly fstype: string;
  readonly "maj:min": string;
  readonly fsroot: string;
  readonly "vfs-options": string;
  readonly "fs-options": string;
}

/** Our reading and that of findmnt; mounts come and go, so both are read until ours is the same before and after. */
function readBoth(): [ours: Partial<Mount>[], theirs: Partial<Mount>[]] {
  const columns = "ID,PARENT,TARGET,SOURCE,FSTYPE,MAJ:MIN,FSROOT,VFS-OPTIONS,FS-OPTIONS";
  for (let attempt = 0; attempt < 100; attempt++) {
    const before = readOwnMounts();
    const rows = JSON.parse(run("findmnt", "--kernel", "--json", "--list", "--nofsroot", "-o", columns));
    if (!Bun.deepEquals(before, readOwnMounts())) continue;
    const ours = before.map(({ namespace: _namespace, pid: _pid, ...mount }) => mount);
    return [ours, (rows.filesystems as FindmntRow[]).map(toMount)];
  }
  throw new Error("the mounts changed all the time");
}

function toMount(row: FindmntRow): Partial<Mount> {
  return {
    id: row.id,
    parentId: row.parent,
    device: row["maj:min"],
    root: row.fsroot,
    mountPoint: row.target,
    readOnly: row["vfs-options"].split(",").includes("ro"),
    filesystem: row.fstype,
    source: row.source,
    superOptions: row["fs-options"].split(","),
  };
}
