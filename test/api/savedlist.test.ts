import { describe, expect, test } from "bun:test";
import { parseSavedList } from "../../src/api/savedlist.ts";

const ENTRY = {
  id: "0b2c6a4e-1a2b-4c3d-8e4f-000000000001",
  name: "web",
  storedName: "w/eb",
  backend: "loop",
  kind: "fs",
  filesystem: "ext4",
  sizeBytes: 4096,
  parentId: null,
  createdAt: "2026-11-27T12:34:56.789Z",
  labels: {},
};

test("a saved list gives its records, without what was true only when it was made", () => {
  const used = { ...ENTRY, parent: "golden", attachedAs: "/dev/loop3", mountedAt: ["/srv"] };
  expect(parseSavedList({ volumes: [used] })).toEqual([ENTRY] as never);
  expect(parseSavedList({ volumes: [] })).toEqual([]);
});

describe("what is no saved list is refused:", () => {
  const lists = [null, 1, "text", [], [ENTRY], {}, { volumes: null }, { volumes: {} }, { volumes: "x" }];
  test.each(lists.map((list) => [JSON.stringify(list), list]))("%s", (_shown, list) => {
    expect(() => parseSavedList(list)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: "The saved list is not the answer of `list --json`: it has no list of volumes",
      }),
    );
  });

  test.each<[string, unknown]>([
    ["null", null],
    ["a text", "web"],
    ["nothing in it", {}],
    ["a name that leads out", { ...ENTRY, storedName: "../../etc/shadow" }],
    ["no id", { ...ENTRY, id: undefined }],
    ["no name", { ...ENTRY, name: undefined }],
    ["a size that is none", { ...ENTRY, sizeBytes: -1 }],
  ])("an entry that is %s, by its number and before any is adopted", (_what, entry) => {
    expect(() => parseSavedList({ volumes: [ENTRY, entry] })).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("Entry 2 of the saved list is no volume: "),
        details: { index: 1 },
      }),
    );
  });
});
