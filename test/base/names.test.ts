import { describe, expect, test } from "bun:test";
import { MosaicError } from "../../src/base/errors.ts";
import { isNameComponent, NAME_RULE, parseStoredName, parseVolumeName } from "../../src/base/names.ts";

const GOOD = [
  "a",
  "0",
  "web-1",
  "A.b_c-D",
  "1..2",
  "a.tmpx",
  "tmp",
  "x".repeat(128),
  "a/b/c",
  "1/2/3/4/5/6/7/8",
  `${"x".repeat(128)}/${"y".repeat(126)}`,
];

const BAD: readonly [name: string, fault: string][] = [
  ["", "it is empty"],
  [".", '"." is not a name'],
  ["..", '".." is not a name'],
  ["../x", '".." is not a name'],
  ["a/../../b", '".." is not a name'],
  ["a/./b", '"." is not a name'],
  ["/x", "it starts with '/'"],
  ["/", "it starts with '/'"],
  ["a//b", "nothing between two slashes"],
  ["a/", "nothing between two slashes or after the last"],
  ["-", "'-' in front would read as an option"],
  ["-rf", "'-' in front would read as an option"],
  ["a/-rf", "'-' in front would read as an option"],
  [".hidden", 'the character "." is not allowed there'],
  ["a/.mosaic/b", 'the character "." is not allowed there'],
  ["_a", 'the character "_" is not allowed there'],
  ["a.tmp", "the ending '.tmp' is reserved"],
  ["a.tmp/b", "the ending '.tmp' is reserved"],
  ["a\0b", String.raw`the character "\u0000" is not allowed`],
  ["a\nb", String.raw`the character "\n" is not allowed`],
  ["a\n", String.raw`the character "\n" is not allowed`],
  ["a\tb", String.raw`the character "\t" is not allowed`],
  ["a\x1b[31m", String.raw`the character "\u001b" is not allowed`],
  ["a b", 'the character " " is not allowed'],
  ["a:1", 'the character ":" is not allowed'],
  ["a@snap", 'the character "@" is not allowed'],
  ["a#b", 'the character "#" is not allowed'],
  ["$(id)", 'the character "$" is not allowed'],
  ["x;reboot", 'the character ";" is not allowed'],
  ["a\\b", String.raw`the character "\\" is not allowed`],
  ["e\u0301", 'the character "\u0301" is not allowed'],
  ["\u00e9", 'the character "\u00e9" is not allowed'],
  ["a\u{1f4be}", 'the character "\u{1f4be}" is not allowed'],
  ["x".repeat(129), "a part of it has 129 bytes"],
  [`a/${"x".repeat(129)}`, "a part of it has 129 bytes"],
  ["x".repeat(256), "it has 256 bytes"],
  [`${"x".repeat(128)}/${"y".repeat(127)}`, "it has 256 bytes"],
  ["\u00e9".repeat(128), "it has 256 bytes"],
  ["1/2/3/4/5/6/7/8/9", "it has 9 groups"],
];

function faultOf(parse: (text: string) => string, text: string): MosaicError {
  try {
    parse(text);
  } catch (thrown) {
    if (thrown instanceof MosaicError) return thrown;
    throw thrown;
  }
  throw new Error(`${JSON.stringify(text)} was taken`);
}

for (const [what, parse] of [
  ["volume", parseVolumeName],
  ["stored", (text: string) => parseStoredName(text)],
] as const) {
  describe(`${what} names`, () => {
    test.each(GOOD)("take %j", (name) => {
      expect(parse(name)).toBe(name as never);
    });

    test.each(BAD)("refuse %j", (name, fault) => {
      const error = faultOf(parse, name);
      expect(error.code).toBe("INVALID_ARGUMENT");
      expect(error.details.fault).toContain(fault);
      expect(error.message).toStartWith(
        `Invalid ${what} name ${JSON.stringify(name.slice(0, 80)).slice(0, -1)}`,
      );
      expect(error.message).toContain(`: ${error.details.fault}; ${NAME_RULE}`);
    });

    test("stay short and on one line in messages", () => {
      const error = faultOf(parse, `\n\x1b[2J${"x".repeat(100_000)}`);
      expect(error.message.length).toBeLessThan(500);
      expect(String(error.details.name).length).toBeLessThan(100);
      expect(error.message).not.toMatch(/\p{Cc}/u);
    });
  });
}

test("a bad stored name tells of what name the volume map made it", () => {
  const { message } = faultOf((text) => parseStoredName(text, "said"), "a/../b");
  expect(message).toStartWith('Invalid stored name "a/../b", which the volume map makes of "said": ".."');
});

test("a directory entry is a part of a name under the same rule", () => {
  expect(["a", "x".repeat(128), "a.b"].map(isNameComponent)).toEqual([true, true, true]);
  const others = ["", ".", "..", ".mosaic", "a/b", "lost+found", "x".repeat(129), "a.tmp", "\ufffd"];
  expect(others.filter(isNameComponent)).toEqual([]);
});
