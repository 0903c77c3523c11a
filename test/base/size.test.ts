import { describe, expect, test } from "bun:test";
import { MosaicError } from "../../src/base/errors.ts";
import { formatSize, parseSize } from "../../src/base/size.ts";

const KI = 1024;

describe("parseSize", () => {
  test.each([
    ["1", 1],
    ["512", 512],
    ["0010", 10],
    ["1K", KI],
    ["1k", KI],
    ["3M", 3 * KI ** 2],
    ["3m", 3 * KI ** 2],
    ["7G", 7 * KI ** 3],
    ["7g", 7 * KI ** 3],
    ["2T", 2 * KI ** 4],
    ["2t", 2 * KI ** 4],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
    ["8191T", 8191 * KI ** 4],
  ])("reads %j as %d bytes", (text, sizeBytes) => {
    expect(parseSize(text)).toBe(sizeBytes);
  });

  test.each([
    ...["", " ", "K", "1 K", " 1", "1 ", "1KK", "1KB", "1KiB", "1P", "1.5G", "1,5G", "1e3", "0x10", "ten"],
    ...["-1", "-1K", "+1", "1K\n", "\n1", "1\0", "\u0661", "1\u212a", "NaN", "Infinity", "--help"],
  ])("refuses %j", (text) => {
    expect(() => parseSize(text)).toThrow(
      /^Invalid size ".*": expected a whole number with K, M, G, T or nothing after it, such as 512M$/,
    );
  });

  test.each(["0", "000", "0K", "0T"])("refuses %j, which is nothing", (text) => {
    expect(() => parseSize(text)).toThrow(`Invalid size "${text}": a size is at least 1`);
  });

  test.each(["9007199254740992", "8192T", "9999999999999999T", "9007199254740991K"])(
    "refuses %j, which numbers cannot hold exactly",
    (text) => {
      expect(() => parseSize(text)).toThrow(`Invalid size "${text}": it is larger than 8191T`);
    },
  );

  test("says of a number of 17 digits that it is too large, not that it is no number", () => {
    expect(() => parseSize("10000000000000000")).toThrow("it is larger than 8191T");
  });

  test("throws INVALID_ARGUMENT with a bounded excerpt", () => {
    try {
      parseSize("9".repeat(10_000));
      throw new Error("it was taken");
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(MosaicError);
      expect(thrown).toMatchObject({ code: "INVALID_ARGUMENT", details: { size: "9".repeat(40) } });
      expect((thrown as MosaicError).message.length).toBeLessThan(200);
    }
  });
});

describe("formatSize", () => {
  test.each([
    [1, "1"],
    [1023, "1023"],
    [KI, "1K"],
    [1536, "1.5K"],
    [512 * KI ** 2, "512M"],
    [KI ** 3 + KI ** 3 / 4, "1.3G"],
    [10 * KI ** 4, "10T"],
    [2048 * KI ** 4, "2048T"],
  ])("writes %d as %s", (sizeBytes, text) => {
    expect(formatSize(sizeBytes)).toBe(text);
  });

  test("writes every whole number of a unit so that it reads back the same", () => {
    for (const power of [0, 1, 2, 3, 4]) {
      for (const count of [1, 2, 100, 512, 1023]) {
        const sizeBytes = count * KI ** power;
        expect(parseSize(formatSize(sizeBytes))).toBe(sizeBytes);
      }
    }
  });

  test("goes to the next unit where one decimal would show 1024", () => {
    expect(formatSize(KI ** 2 - 1)).toBe("1M");
  });
});
