import { describe, expect, test } from "bun:test";
import {
  describeHolder,
  findDeviceMounts,
  findDirectoryMounts,
  type Holder,
} from "../../src/system/holders.ts";
import type { Mount } from "../../src/system/mounts.ts";

// Tables of mounts, made up; what the kernel really shows is in realholders.test.ts.

/** A mount table of one namespace: `ID PARENT DEVICE ROOT POINT`, each below its parent. */
function makeMounts(...lines: string[]): Mount[] {
  return lines.map((line) => {
    const [id, parentId, device = "", root = "", mountPoint = ""] = line.split(" ");
    return {
      id: Number(id),
      parentId: Number(parentId),
      device,
      root,
      mountPoint,
      readOnly: false,
      filesystem: "ext4",
      source: "/dev/x",
      superOptions: ["rw"],
      namespace: "mnt:[7]",
      pid: 7,
    };
  });
}

const heldBy = (root: string, ...lines: string[]) =>
  findDirectoryMounts({ path: `/srv${root}`, device: "8:1", root }, makeMounts("1 0 8:1 / /", ...lines)).map(
    (holder) => (holder.kind === "mount" ? holder.path : ""),
  );

describe("a directory is held by", () => {
  test.each([
    ["a bind mount of it", "2 1 8:1 /vol /mnt", ["/mnt"]],
    ["a bind mount of a directory in it", "2 1 8:1 /vol/a/b /mnt", ["/mnt"]],
    ["its subvol= mount, whatever the source", "2 1 8:1 /vol /home", ["/home"]],
    ["another filesystem that is mounted in it", "2 1 9:9 / /vol/inner", ["/vol/inner"]],
    ["another filesystem that is mounted over it", "2 1 9:9 / /vol", ["/vol"]],
  ])("%s", (_what, line, held) => {
    expect(heldBy("/vol", line)).toEqual(held);
  });

  test("a mount inside a bind mount of it", () => {
    expect(heldBy("/vol", "2 1 8:1 /vol /mnt", "3 2 9:9 / /mnt/inner")).toEqual(["/mnt", "/mnt/inner"]);
  });

  test("a mount inside it that is seen through a mount of what is above it", () => {
    expect(heldBy("/a/vol", "2 1 8:1 /a /mnt", "3 2 9:9 / /mnt/vol/inner")).toEqual(["/mnt/vol/inner"]);
  });
});

describe("a directory is not held by", () => {
  test.each([
    ["a mount of what is above it", "2 1 8:1 / /mnt"],
    ["a mount of its neighbour", "2 1 8:1 /vol2 /mnt"],
    ["a mount in its neighbour", "2 1 9:9 / /vol2/inner"],
    ["the same path on another device", "2 1 8:2 /vol /mnt"],
    ["a mount beside it", "2 1 9:9 / /other"],
  ])("%s", (_what, line) => {
    expect(heldBy("/vol", line)).toEqual([]);
  });

  test("a mount in the same path of another filesystem", () => {
    expect(heldBy("/vol", "2 1 9:9 / /mnt", "3 2 7:7 / /mnt/vol")).toEqual([]);
  });
});

test("a device is held by mounts of its number, and on btrfs by its name", () => {
  const [byNumber, byName, other] = makeMounts("2 1 7:3 / /a", "3 1 0:45 / /b", "4 1 0:46 / /c");
  if (!byNumber || !byName || !other) throw new Error("three mounts were made");
  const mounts = [
    byNumber,
    { ...byName, filesystem: "btrfs", source: "/dev/loop3" },
    { ...other, source: "/dev/loop3" },
    { ...other, filesystem: "btrfs", source: "/dev/loop33" },
  ];
  expect(findDeviceMounts("/dev/loop3", "7:3", mounts).map((mount) => mount.mountPoint)).toEqual([
    "/a",
    "/b",
  ]);
});

test.each<[Holder, string]>([
  [
    { kind: "mount", path: "/srv/a b", pid: 812, namespace: "mnt:[4026532]", readOnly: true },
    'mounted at "/srv/a b" (pid 812, mnt:[4026532])',
  ],
  [
    { kind: "process", pid: 9, command: "tail", path: "/x\ny" },
    String.raw`open in process 9 (tail): "/x\ny"`,
  ],
  [{ kind: "device", device: "/dev/loop3", attached: true }, "attached as /dev/loop3"],
  [{ kind: "device", device: "/dev/dm-1", attached: false }, "used by /dev/dm-1"],
])("a holder in words: %j", (holder, words) => {
  expect(describeHolder(holder)).toBe(words);
});
