import { describe, expect, test } from "bun:test";
import { ACTION_NAMES } from "../../src/api/actions.ts";
import type { VolumeInfo } from "../../src/api/results.ts";
import { MosaicError } from "../../src/base/errors.ts";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import { formatHint, formatText } from "../../src/cli/text.ts";

const VOLUME: VolumeInfo = {
  id: "0b2c6a4e-0000-4000-8000-000000000001",
  name: parseVolumeName("web"),
  storedName: parseStoredName("web"),
  backend: "loop",
  kind: "fs",
  filesystem: "ext4",
  sizeBytes: 512 * 1024 ** 2,
  parentId: null,
  createdAt: "2026-11-27T00:00:00.000Z",
  labels: {},
  parent: null,
  attachedAs: null,
  mountedAt: [],
};

describe("a list", () => {
  test("is a table with its columns aligned and no blanks at the end of its lines", () => {
    const volumes: VolumeInfo[] = [
      VOLUME,
      {
        ...VOLUME,
        name: parseVolumeName("a-longer-name"),
        kind: "disk",
        filesystem: null,
        sizeBytes: 1536,
        parentId: VOLUME.id,
        parent: "web",
        attachedAs: "/dev/loop17",
        mountedAt: ["/srv/a", "/srv/b"],
      },
      { ...VOLUME, name: parseVolumeName("c"), filesystem: null, sizeBytes: null, parentId: VOLUME.id },
    ];
    expect(formatText("list", { volumes })).toBe(
      [
        "NAME           KIND  FILESYSTEM  SIZE  PARENT     ATTACHED     MOUNTED",
        "web            fs    ext4        512M  -          -            -",
        "a-longer-name  disk  -           1.5K  web        /dev/loop17  /srv/a,/srv/b",
        "c              fs    -           -     (dropped)  -            -",
        "",
      ].join("\n"),
    );
  });

  test("of no volumes is nothing", () => {
    expect(formatText("list", { volumes: [] })).toBe("");
  });

  test("shows a mount point with a newline or an escape on its one line", () => {
    const text = formatText("list", {
      volumes: [{ ...VOLUME, mountedAt: ["/srv/a\nforged  disk\x1b[31m"] }],
    });
    expect(text.split("\n")).toHaveLength(3);
    expect(text.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  });
});

describe("the lines that scripts know", () => {
  test.each([
    ["attach", { volume: "web", device: "/dev/loop3" }, "Device: /dev/loop3\n"],
    ["have", { name: "web", exists: true, foreign: null }, "web exists: yes\n"],
    ["have", { name: "web", exists: false, foreign: null }, "web exists: no\n"],
    ["adopt", VOLUME, ""],
  ] as const)("of %s %j", (action, result, text) => {
    expect(formatText(action, result)).toBe(text);
  });

  test("are none for every other action: quiet on success", () => {
    const loud = ["attach", "info", "have", "list", "adopt", "check"];
    for (const action of ACTION_NAMES.filter((name) => !loud.includes(name)))
      expect(formatText(action, { volume: "web", device: "/dev/loop3" })).toBe("");
  });

  test("of adopt --from count, and name what failed", () => {
    const failed = [{ name: "b", error: new MosaicError("NOT_FOUND", "there is nothing") }];
    expect(formatText("adopt", { adopted: ["a"], unchanged: ["c", "d"], failed })).toBe(
      "adopted: 1, unchanged: 2, failed: 1\nfailed: b: there is nothing\n",
    );
  });
});

test("a hint tells of what is foreign, and only have hints", () => {
  const foreign = { why: "it has no record", adopt: "moctl /vm.mos adopt fs web" };
  const existence = { name: "web", exists: false, foreign };
  expect(formatHint("have", existence)).toBe(
    'hint: what lies at the place of "web" is foreign, it has no record; to make it a volume: moctl /vm.mos adopt fs web',
  );
  expect(formatHint("have", { ...existence, foreign: null })).toBeUndefined();
  expect(formatHint("list", existence)).toBeUndefined();
});
