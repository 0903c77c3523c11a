import { describe, expect, test } from "bun:test";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import {
  checkRecord,
  formatRecord,
  isId,
  parseRecord,
  type VolumeRecord,
} from "../../src/location/record.ts";

const ID = "0b2c6a4e-1a2b-4c3d-8e4f-000000000001";
const LONGEST = `${"x".repeat(128)}/${"y".repeat(126)}`;

const RECORD: VolumeRecord = {
  id: ID,
  name: parseVolumeName("web"),
  storedName: parseStoredName("w/eb"),
  backend: "loop",
  kind: "fs",
  filesystem: "ext4",
  sizeBytes: 4096,
  parentId: null,
  createdAt: "2026-11-27T12:34:56.789Z",
  labels: {},
};

const FULLEST: VolumeRecord = {
  ...RECORD,
  name: parseVolumeName(LONGEST),
  storedName: parseStoredName(LONGEST),
  sizeBytes: Number.MAX_SAFE_INTEGER,
  parentId: ID.replace("1a2b", "ffff"),
  labels: JSON.parse(`{"purpose":"caf\u00e9","__proto__":"x"}`),
};

const parse = (value: unknown) =>
  parseRecord(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)));

describe("a record", () => {
  test.each<[string, VolumeRecord]>([
    ["of a filesystem", RECORD],
    ["of a disk without a size", { ...RECORD, kind: "disk", filesystem: null, sizeBytes: null }],
    ["with the longest names", FULLEST],
  ])("%s reads back the same", (_what, record) => {
    const text = formatRecord(record);
    expect(parse(text)).toEqual(record);
    expect(JSON.parse(text)).toMatchObject({ version: 1, id: ID });
  });

  test("with the longest names fits where attributes have 1 KiB, without labels", () => {
    expect(formatRecord({ ...FULLEST, labels: {} }).length).toBeLessThanOrEqual(1024);
  });

  test("that is too large is not written, and not read", () => {
    const room = 2048 - formatRecord({ ...RECORD, labels: { a: "" } }).length;
    const fits = formatRecord({ ...RECORD, labels: { a: "x".repeat(room) } });
    expect(fits).toHaveLength(2048);
    expect(parse(fits)).toBeDefined();
    expect(parse(`${fits} `)).toBeUndefined();
    expect(() => formatRecord({ ...RECORD, labels: { a: "x".repeat(room + 1) } })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("2048 bytes") }),
    );
    expect(() => formatRecord({ ...RECORD, labels: { a: "\u00e9".repeat(room / 2 + 1) } })).toThrow();
  });

  test("keeps nothing that it does not know", () => {
    expect(parse({ version: 1, ...RECORD, banana: 1, holders: [] })).toEqual(RECORD);
  });
});

describe("what is no record is refused:", () => {
  test.each([
    ["nothing", ""],
    ["no JSON", "version 1"],
    ["half of one", formatRecord(RECORD).slice(0, -1)],
    ["two", formatRecord(RECORD) + formatRecord(RECORD)],
    ["null", "null"],
    ["a list", "[]"],
    ["a number", "1"],
    ["a text", '"version"'],
    ["an empty object", "{}"],
    ["only its version", '{"version":1}'],
    ["a later version", JSON.stringify({ ...RECORD, version: 2 })],
    ["a version that is a text", JSON.stringify({ ...RECORD, version: "1" })],
    ["no version", JSON.stringify(RECORD)],
    [
      "fields in the prototype",
      JSON.stringify({ version: 1 }).replace("}", `,"__proto__":${JSON.stringify(RECORD)}}`),
    ],
    ["fields of a nested object", JSON.stringify({ version: 1, record: RECORD })],
    ["deep nesting", `{"version":1,"labels":${"[".repeat(900)}${"]".repeat(900)}}`],
  ])("%s", (_what, text) => {
    expect(parse(text)).toBeUndefined();
  });

  test("bytes that are no text", () => {
    const bytes = Buffer.from(formatRecord(RECORD));
    bytes[bytes.indexOf('"web"') + 1] = 0xff;
    expect(parseRecord(bytes)).toBeUndefined();
    expect(parseRecord(Buffer.alloc(2048, 0x20))).toBeUndefined();
  });

  test("and leaves the prototype of all objects as it is", () => {
    parse(`{"version":1,"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}`);
    parse({ version: 1, ...RECORD, labels: JSON.parse('{"__proto__":"polluted"}') });
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});

const WRONG: Readonly<Record<string, readonly unknown[]>> = {
  id: [undefined, null, 1, "", "web", ID.toUpperCase(), `${ID}\n`, ` ${ID}`, ID.slice(1), [ID]],
  name: ["", "..", "../x", "a\nb", "x".repeat(129)],
  storedName: ["", "/etc/shadow", "a/../../b", "-rf", ".mosaic/x"],
  backend: [undefined, null, 1, ["loop"]],
  kind: [undefined, null, "FS", "file", ["fs"]],
  filesystem: [undefined, "", "EXT4", "ext4 -o x", "-t", "x".repeat(17), 4, ["ext4"]],
  sizeBytes: [undefined, 0, -1, 1.5, "4096", 2 ** 60, [4096]],
  parentId: [undefined, "", "web", 0, [ID]],
  createdAt: [undefined, null, "", "yesterday", 1_700_000_000_000],
  labels: [undefined, null, [], "x", { a: 1 }, { a: null }, { a: {} }],
};

describe.each(Object.entries(WRONG))("a record is refused when its %s is", (field, values) => {
  test.each(values.map((value) => [JSON.stringify(value) ?? "missing", value]))("%s", (_shown, value) => {
    expect(parse({ version: 1, ...RECORD, [field]: value })).toBeUndefined();
    expect(() => checkRecord({ ...RECORD, [field]: value })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});

describe("a record is refused when it is believed by its text alone:", () => {
  test("a name that is missing, a number or a list", () => {
    for (const value of [undefined, null, 5, ["web"]]) {
      expect(parse({ version: 1, ...RECORD, name: value })).toBeUndefined();
      expect(parse({ version: 1, ...RECORD, storedName: value })).toBeUndefined();
    }
  });

  test("a time that is not ISO 8601 in UTC", () => {
    for (const createdAt of ["1", "Nov 27 2026", "2026-11-27 (\x1b[31m)", "2026-11-27T12:34:56+02:00"])
      expect(parse({ version: 1, ...RECORD, createdAt })).toBeUndefined();
  });
});

test("an id is what a record may have as such", () => {
  expect(isId(ID)).toBe(true);
  expect([undefined, 1, "", `${ID}0`, ID.replace("-", "")].some(isId)).toBe(false);
});
