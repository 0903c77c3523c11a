import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { BEDS, type Bed, describeOnBed } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { createFs, expectRefusal, expectSame, moctl, requireRefusal, succeed } from "./moctl.ts";
import { takePicture } from "./picture.ts";

// Names that mean harm: each is refused by every action, and so is what a volume map makes of a good one.

const BAD_NAMES = [
  ["empty", ""],
  ["a dot", "."],
  ["two dots", ".."],
  ["upwards", "../x"],
  ["absolute", "/x"],
  ["an option", "-rf"],
  ["upwards in the middle", "a/../../b"],
  ["300 bytes", "a".repeat(300)],
  ["256 bytes", `${"a".repeat(127)}/${"b".repeat(128)}`],
  ["a long part", "a".repeat(129)],
  ["deep", "a/b/c/d/e/f/g/h/i"],
  ["two slashes", "a//b"],
  ["a slash at the end", "a/"],
  ["hidden", ".mosaic"],
  ["hidden below", "a/.mosaic"],
  ["unfinished", "x.tmp"],
  ["a newline", "a\nb"],
  ["a newline at the end", "a\n"],
  ["a blank", "a b"],
  ["an escape sequence", "a\u001b[31mb"],
  ["a colon", "a:1"],
  ["a command", "$(id)"],
  ["two commands", "x;reboot"],
  ["decomposed", "cafe\u0301"],
  ["composed", "caf\u00e9"],
  ["another script's letter", "w\u0435b"],
] as const;

const BAD_MAPS = [
  ["upwards", "\\(.*\\) ../\\1"],
  ["absolute", "\\(.*\\) /\\1"],
  ["an option", "\\(.*\\) -\\1"],
  ["nothing", "\\(x*\\)web \\1"],
  ["our own directory", "\\(.*\\) .mosaic/\\1"],
  ["too long", `\\(.*\\) ${"\\1".repeat(90)}`],
  ["no match", "^[0-9]*$ x"],
] as const;

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));

  test.each(BAD_NAMES)("a name that is %s is refused by every action", (_what, name) => {
    createFs(bed, "web");
    const before = takePicture(bed.directory);
    for (const action of listUses(name, bed)) expectBadName(bed.config, action);
    expectSame(bed.directory, before);
  });

  test.each(BAD_MAPS)("a volume map whose result is %s refuses the name", (_what, map) => {
    const config = bed.writeConfig("mapped", [`volumeMap: '${map}'`]);
    for (const action of [
      ["create", "fs", "web", "16m"],
      ["have", "web"],
      ["drop", "web"],
    ])
      expectBadName(config, action);
  });

  test("a name that begins with a dash is a word after --, and an option before", () => {
    expectBadName(bed.config, ["create", "fs", "--", "-rf", "16m"]);
    const says = /^(moctl: )?Unknown option "-rf"/;
    expectRefusal(bed.directory, [bed.config, "drop", "-rf"], { exit: 2, code: "INVALID_ARGUMENT", says });
  });

  test("the longest names of every kind work", () => {
    const names = ["a".repeat(128), `${"a".repeat(127)}/${"b".repeat(127)}`, "1/2/3/4/5/6/7/8", "A.b_c-d"];
    for (const name of names) createFs(bed, name);
    expect(
      succeed(bed.config, "list")
        .match(/^\S+(?= )/gm)
        ?.slice(1)
        .sort(),
    ).toEqual([...names].sort());
    for (const name of names) succeed(bed.config, "drop", name);
    expect(readdirSync(bed.location)).toEqual([]);
  });
});

function listUses(name: string, bed: Bed): string[][] {
  return [
    ["create", "fs", "--", name, "16m"],
    ["drop", "--", name],
    ["have", "--", name],
    ["attach", "--", name],
    ["detach", "--", name],
    ["mount", "--", name, bed.location],
    ["umount", "--", name, bed.location],
    ["clone", "--", "web", name],
    ["clone", "--", name, "new"],
    ["adopt", "fs", "--", name],
  ];
}

function expectBadName(config: string, action: readonly string[]): void {
  const says = /volume name|stored name|volume map/;
  const { message } = requireRefusal(
    (more) => moctl([...more, config, ...action]),
    { exit: 2, code: "INVALID_ARGUMENT", says },
    action,
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not reach a terminal
  expect(message).not.toMatch(/[\u0000-\u001f]/);
}
