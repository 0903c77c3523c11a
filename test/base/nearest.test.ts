import { expect, test } from "bun:test";
import { findNearest } from "../../src/base/nearest.ts";

const WORDS = ["mount", "umount", "attach", "detach", "drop", "volumeMap", "requireMount"];

test.each([
  ["mount", "mount"],
  ["mout", "mount"],
  ["mounts", "mount"],
  ["unmount", "umount"],
  ["MOUNT", "mount"],
  ["atach", "attach"],
  ["atxxch", "attach"],
  ["atxxxh", undefined],
  ["dorp", undefined],
  ["dop", "drop"],
  ["volumemap", "volumeMap"],
  ["volume_map", "volumeMap"],
  ["requirMont", "requireMount"],
  ["", undefined],
  ["x", undefined],
  ["destroy", undefined],
] as const)("of %j the nearest is %j", (word, nearest) => {
  expect(findNearest(word, WORDS)).toBe(nearest);
});

test("the smaller distance wins, and of equal ones the first in the list", () => {
  expect(findNearest("etach", ["attach", "detach"])).toBe("detach");
  expect(findNearest("cat", ["bat", "rat"])).toBe("bat");
});

test("nothing is near nothing", () => {
  expect(findNearest("mount", [])).toBeUndefined();
});
