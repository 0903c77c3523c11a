import { describe, expect, test } from "bun:test";
import { identityMap, parseVolumeMap, VolumeMapError } from "../../src/api/volumemap.ts";
import { parseVolumeName } from "../../src/base/names.ts";

const raw = String.raw;
const SPREAD = raw`\([a-z]\)\([a-z][a-z]\)\(.*\) \1/\2/\3`;

const map = (text: string, name: string): string => parseVolumeMap(text).map(parseVolumeName(name));

describe("a volume map", () => {
  test.each([
    ["the example of old", SPREAD, "orig", "o/ri/g"],
    ["a search that is not anchored", SPREAD, "1orig", "o/ri/g"],
    ["more blanks around the words", `  ${SPREAD.replace(" ", " \t ")} `, "orig", "o/ri/g"],
    ["a fixed result", "a x", "cat", "x"],
    ["a replacement that is the whole result", raw`b\(.\) disks/\1`, "abc-rest", "disks/c"],
    ["a group used twice", raw`^\(.\)\(.*\) \1\1/\1\2`, "web", "ww/web"],
    ["a digit after a group", raw`^\(.*\)$ \10`, "web", "web0"],
    ["a group that took no part", raw`^\(x\)*\(.*\)$ a\1/\2`, "web", "a/web"],
    [
      "nine groups",
      raw`\(.\)\(.\)\(.\)\(.\)\(.\)\(.\)\(.\)\(.\)\(.\) \9\8\7\6\5\4\3\2\1`,
      "123456789",
      "987654321",
    ],
    ["a bare bracket and plus, which are literals", raw`^a\(.*\) x(\1`, "a", undefined],
    ["a count", raw`^\([a-z]\{3\}\)\(.*\)$ \1/\2`, "abcdef", "abc/def"],
    ["a name with slashes", raw`^\(.*\)/\(.*\)$ \2/\1`, "a/b", "b/a"],
  ] as const)("with %s", (_what, text, name, stored) => {
    if (stored === undefined) expect(() => map(text, name)).toThrow('Invalid stored name "x("');
    else expect(map(text, name)).toBe(stored);
  });

  test("may send two names to one place", () => {
    expect(map(SPREAD, "1orig")).toBe(map(SPREAD, "orig"));
  });

  test("that does not match a name says so and what it asks for", () => {
    expect(() => map(raw`^vm-\(.*\)$ \1`, "web")).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: raw`The volume map does not match the name "web": it asks for "^vm-\\(.*\\)$"`,
        details: { name: "web", pattern: raw`^vm-\(.*\)$` },
      }),
    );
  });

  test("of nothing is the name itself", () => {
    expect(identityMap.map(parseVolumeName("a/b"))).toBe("a/b" as never);
  });
});

test.each([
  [raw`^a\(.*\)$ \1`, "a", "", "it is empty"],
  [raw`^\(.*\)$ ../\1`, "x", "../x", '".." is not a name'],
  [raw`^\(.*\)$ /\1`, "x", "/x", "it starts with '/'"],
  [raw`^\(.*\)-$ \1/`, "x-", "x/", "there is nothing between two slashes or after the last"],
  [raw`^a\(.*\)$ \1`, "a-rf", "-rf", "'-' in front would read as an option"],
  [raw`^\(.*\)$ .mosaic/\1`, "x", ".mosaic/x", 'the character "." is not allowed there'],
  [raw`^\(.*\)$ \1.tmp`, "x", "x.tmp", "the ending '.tmp' is reserved"],
  [raw`^\(.*\)$ \1/\1`, "x".repeat(128), `${"x".repeat(128)}/${"x".repeat(128)}`, "it has 257 bytes"],
  [raw`^\(.*\)$ &\1`, "x", "&x", 'the character "&" is not allowed'],
])("with %j the name %j gives %j, which is refused as a stored name", (text, name, stored, fault) => {
  expect(() => map(text, name)).toThrow(
    expect.objectContaining({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`, which the volume map makes of "${name}": ${fault}`),
      details: expect.objectContaining({ name: expect.stringContaining(stored.slice(0, 80)) }),
    }),
  );
});

describe("a text that is no volume map is refused at its character:", () => {
  test.each([
    ["", 0, "expected two words, REGEX and REPLACEMENT, found 0"],
    ["  ", 0, "expected two words, REGEX and REPLACEMENT, found 0"],
    ["a", 0, "expected two words, REGEX and REPLACEMENT, found 1"],
    ["a b  c d", 5, "expected two words, REGEX and REPLACEMENT, found 4"],
    [raw`a x\1`, 3, raw`the replacement has \1, but the expression has 0 groups`],
    [raw`\(a\) x\2y`, 7, raw`the replacement has \2, but the expression has 1 groups`],
    [raw`\(a\) x\0`, 7, raw`expected \1 to \9 in the replacement, found "\0"`],
    [raw`\(a\) x\n`, 7, raw`expected \1 to \9 in the replacement, found "\n"`],
    ["\\(a\\) x\\", 7, raw`expected \1 to \9 in the replacement, found "\"`],
    [raw` b\(a x`, 2, "in the regular expression: "],
    [raw`b[a x`, 1, "in the regular expression: "],
  ])("%j", (text, position, message) => {
    try {
      parseVolumeMap(text);
      throw new Error("it was taken");
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(VolumeMapError);
      expect(thrown).toMatchObject({ position, message: expect.stringContaining(message) });
    }
  });
});

describe("an expression that drives a backtracking engine mad answers for the longest name:", () => {
  const longest = `${"a".repeat(128)}/${"a".repeat(126)}`;
  test.each([
    [raw`^\(\(a*\)*\)*b x`, undefined],
    [raw`^\(a*a*a*a*a*a*a*a*\)*c x`, undefined],
    [raw`\(\(.*\)*\)*/\(\(a*\)*\)*$ x/\1`, `x/${"a".repeat(128)}`],
  ])("%j", (text, stored) => {
    expect(longest).toHaveLength(255);
    if (stored === undefined)
      expect(() => map(text, longest)).toThrow("The volume map does not match the name");
    else expect(map(text, longest)).toBe(stored);
  });
});
