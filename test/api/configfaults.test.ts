import { describe, expect, test } from "bun:test";
import { parseConfig } from "../../src/api/config.ts";
import { listTypeWords } from "../../src/backends/registry.ts";

// Every fault is shown with file, line and column, the source line, and a caret below the exact place.

const BASE = "type: loop\nlocation: x\n";
const TYPES = `one of ${[...listTypeWords().keys()].join(", ")}`;
const KEYS = "one of type, location, default_fs, layout, volumeMap, requireMount";
const BOMB = ["a: &a [x,x,x,x,x,x,x,x,x]", ..."bcdefgh"]
  .map((key, index, keys) =>
    index === 0
      ? key
      : `${key}: &${key} [${Array(9)
          .fill(`*${keys[index - 1]?.[0]}`)
          .join()}]`,
  )
  .join("\n");

const POOL = "type: thin\nlocation: /dev/mapper/p\n";

type Row = readonly [text: string, line: number, column: number, fault: string];

function expectFault(text: string, line: number, column: number, fault: string): void {
  const source = text.split(/\r?\n/)[line - 1] ?? "";
  const gutter = " ".repeat(String(line).length);
  const caret = `${source.slice(0, column - 1).replaceAll(/[^\t]/g, " ")}^`;
  expect(() => parseConfig({ path: "/c/vm.mos", text })).toThrow(
    expect.objectContaining({
      code: "INVALID_CONFIG",
      message: `/c/vm.mos:${line}:${column}: ${fault}\n  ${line} | ${source}\n  ${gutter} | ${caret}`,
      details: { file: "/c/vm.mos", line, column, fault, source },
    }),
  );
}

const NO_MAPPING: readonly Row[] = [
  "",
  "\n",
  "# only a comment\n",
  "- type: loop\n",
  "[]",
  "text",
  "null",
  "5",
].map((text) => [text, 1, 1, "expected a mapping of keys such as `type: loop`"]);

const NOT_YAML: readonly Row[] = [
  [`${BASE}type: loop\n`, 3, 1, "the key is there twice"],
  [`${BASE}layout:\n  fs: a\n  fs: b\n`, 5, 3, "the key is there twice"],
  [`${BASE}---\n${BASE}`, 3, 1, "expected one document, found a second one"],
  ["type: loop\n\tlocation: x\n", 2, 1, "Tabs are not allowed as indentation"],
  [`${BASE}layout:\n\tfs: x\n`, 4, 1, "Tabs are not allowed as indentation"],
  ["type: loop\nlocation: x: y\n", 2, 11, "Nested mappings are not allowed in compact mappings"],
  [`${BASE}volumeMap: "\\(a b"\n`, 3, 13, "Invalid escape sequence \\("],
  [BOMB, 1, 1, "Excessive alias count indicates a resource exhaustion attack"],
];

const WRONG_VALUES: readonly Row[] = [
  ["type: loop\n", 1, 1, 'the key "location" is missing: expected a text'],
  ["\n# late\nlocation: x\n", 3, 1, `the key "type" is missing: expected ${TYPES}`],
  ["location: x\ntype: zfs\n", 2, 7, `type: expected ${TYPES}, found "zfs"`],
  ["type: 5\nlocation: x\n", 1, 7, `type: expected ${TYPES}, found 5`],
  ["type: [loop]\nlocation: x\n", 1, 7, `type: expected ${TYPES}, found a list`],
  ["type: {a: b}\nlocation: x\n", 1, 7, `type: expected ${TYPES}, found a mapping`],
  ["type: loop\nlocation: 5\n", 2, 11, "location: expected a text, found 5"],
  ["type: loop\nlocation: ''\n", 2, 11, 'location: expected a text that is not empty, found ""'],
  ["type: loop\nlocation:   [x]\n", 2, 13, "location: expected a text, found a list"],
  [`${BASE}default_fs: zfs\n`, 3, 13, 'default_fs: expected one of ext4, xfs, btrfs, found "zfs"'],
  [`${BASE}requireMount: yes\n`, 3, 15, 'requireMount: expected true or false, found "yes"'],
  [`${BASE}requireMount: 1\n`, 3, 15, "requireMount: expected true or false, found 1"],
  [`${BASE}layout: x\n`, 3, 9, 'layout: expected a mapping, found "x"'],
  [`${BASE}layout: []\n`, 3, 9, "layout: expected a mapping, found a list"],
  [`${BASE}layout: {}\n`, 3, 9, 'the key "layout.fs" is missing: expected a text'],
  [`${BASE}layout:\n  fs: [a]\n`, 4, 7, "layout.fs: expected a text, found a list"],
  [`${POOL}limits: {data: 0}\n`, 3, 16, "limits.data: expected 1 or more, found 0"],
  [`${POOL}limits: {metadata: 101}\n`, 3, 20, "limits.metadata: expected 100 or less, found 101"],
  [`${POOL}limits: {data: 5.5}\n`, 3, 16, "limits.data: expected a whole number, found 5.5"],
  [
    `${POOL}limits: {overcommit: some}\n`,
    3,
    22,
    'limits.overcommit: expected none or a whole number of percent, found "some"',
  ],
  [`${POOL}pool: {data: /d, blockSize: 64K}\n`, 3, 7, 'the key "pool.metadata" is missing: expected a text'],
  [
    `${POOL}pool: {metadata: /m, data: /d, blockSize: 5K}\n`,
    3,
    43,
    'pool.blockSize: expected a multiple of 64K up to 1G, found "5K"',
  ],
  [`${BASE}volumeMap: 7\n`, 3, 12, "volumeMap: expected a text, found 7"],
  [`${BASE}volumeMap: a\n`, 3, 12, "volumeMap: expected two words, REGEX and REPLACEMENT, found 1"],
  [`${BASE}volumeMap: a b c\n`, 3, 16, "volumeMap: expected two words, REGEX and REPLACEMENT, found 3"],
  [
    `${BASE}volumeMap: a x\\1\n`,
    3,
    15,
    "volumeMap: the replacement has \\1, but the expression has 0 groups",
  ],
  [
    `${BASE}volumeMap: 'a x\\1'\n`,
    3,
    12,
    "volumeMap: the replacement has \\1, but the expression has 0 groups",
  ],
];

const UNKNOWN_KEYS: readonly Row[] = [
  [`${BASE}volumMap: a b\n`, 3, 1, 'unknown key "volumMap": did you mean "volumeMap"?'],
  [`${BASE}requiremount: true\n`, 3, 1, 'unknown key "requiremount": did you mean "requireMount"?'],
  [`${BASE}default-fs: ext4\n`, 3, 1, 'unknown key "default-fs": did you mean "default_fs"?'],
  [`${BASE}banana: 1\n`, 3, 1, `unknown key "banana": expected ${KEYS}`],
  [`${BASE}<<: {a: b}\n`, 3, 1, `unknown key "<<": expected ${KEYS}`],
  [`${BASE}__proto__: {a: b}\n`, 3, 1, `unknown key "__proto__": expected ${KEYS}`],
  [`${BASE}constructor: x\n`, 3, 1, `unknown key "constructor": expected ${KEYS}`],
  [`${BASE}7: x\n`, 3, 1, `unknown key "7": expected ${KEYS}`],
  [`{type: loop, location: x, loc: y}\n`, 1, 27, `unknown key "loc": expected ${KEYS}`],
  [`${BASE}layout: {fs: a, fz: b}\n`, 3, 17, 'unknown key "fz" in layout: did you mean "fs"?'],
  [`${POOL}limits: {dato: 5}\n`, 3, 10, 'unknown key "dato" in limits: did you mean "data"?'],
  [
    `${POOL}pool: {banana: 5}\n`,
    3,
    8,
    'unknown key "banana" in pool: expected one of metadata, data, blockSize',
  ],
  [`${BASE}state: x\n`, 3, 1, `a mosaic of type loop has no key "state": expected ${KEYS}`],
  [
    "type: plain\nlocation: x\ndefault_fs: ext4\n",
    3,
    1,
    'a mosaic of type plain has no key "default_fs": expected one of type, location, layout, volumeMap, requireMount, quota',
  ],
];

describe.each([
  ["no mapping", NO_MAPPING],
  ["no YAML", NOT_YAML],
  ["a wrong value", WRONG_VALUES],
  ["an unknown key", UNKNOWN_KEYS],
])("%s is refused at its place:", (_what, rows) => {
  test.each([...rows])("%j", expectFault);
});

test.each(["../x", "/x", ".", "-rf", "a//b", "a:b"])("layout.fs %j is refused as a name", (name) => {
  expect(() => parseConfig({ path: "/c/vm.mos", text: `${BASE}layout: {fs: "${name}"}\n` })).toThrow(
    `/c/vm.mos:3:14: Invalid stored name "${name}": `,
  );
});

test("a tab before the place keeps the caret below it", () => {
  expectFault(`${BASE}requireMount:\t\tyes\n`, 3, 16, 'requireMount: expected true or false, found "yes"');
});

test("control characters and endless lines of a config do not reach the terminal", () => {
  const text = `${BASE}x: "\u009b31m ${"x".repeat(5000)}"\n`;
  expect(() => parseConfig({ path: "/c/vm.mos", text })).toThrow(
    expect.objectContaining({
      details: expect.objectContaining({ source: `x: "\ufffd31m ${"x".repeat(191)}` }),
    }),
  );
});

describe("what is finer is refused at its place too:", () => {
  const rows: Row[] = [
    ["type: !foo loop\nlocation: x\n", 1, 7, "Unresolved tag: !foo"],
    ["typ: loop\nlocation: x\n", 1, 1, 'unknown key "typ": did you mean "type"?'],
    ["type: loop\nlocaton: x\n", 2, 1, 'unknown key "locaton": did you mean "location"?'],
    [`${BASE}layout: {fss: a}\n`, 3, 10, 'unknown key "fss" in layout: did you mean "fs"?'],
    ["type: loop\r\nlocation: 5\r\n", 2, 11, "location: expected a text, found 5"],
    ["location: x\ntype: *none\n", 2, 7, "there is no anchor for the alias none"],
    [
      `${BASE}volumeMap:\n  ab\n  \\1\n`,
      5,
      3,
      "volumeMap: the replacement has \\1, but the expression has 0 groups",
    ],
  ];
  for (const row of rows) test(JSON.stringify(row[0]), () => expectFault(...row));

  test("a byte order mark does not move the place", () => {
    expect(() => parseConfig({ path: "/c/vm.mos", text: "\ufefftype: zfs\nlocation: x\n" })).toThrow(
      /^\/c\/vm\.mos:1:7: .*\n {2}1 \| type: zfs\n {4}\| {7}\^$/s,
    );
  });
});
