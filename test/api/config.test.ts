import { describe, expect, test } from "bun:test";
import { parseConfig } from "../../src/api/config.ts";
import { parseVolumeName } from "../../src/base/names.ts";

const parse = (text: string, path = "/srv/configs/vm.mos") => parseConfig({ path, text });

describe("a config", () => {
  test("of the least there can be", () => {
    const config = parse("type: loop\nlocation: /srv/vm\n");
    expect(config).toMatchObject({
      mosaicName: "vm",
      file: "/srv/configs/vm.mos",
      backend: "loop",
      location: "/srv/vm",
      defaultFilesystem: "ext4",
      layoutPath: "",
      requireMount: false,
    });
    expect(config.volumeMap.map(parseVolumeName("a/b"))).toBe("a/b" as never);
  });

  test("with every key", () => {
    const config = parse(
      [
        "# all of it",
        "type: fsimg",
        "location: ../vm",
        "default_fs: xfs",
        "layout:",
        "  fs: meta/data",
        "volumeMap: ^vm-\\(.*\\)$ disks/\\1.img",
        "requireMount: true",
      ].join("\n"),
    );
    expect(config).toMatchObject({
      backend: "loop",
      location: "/srv/vm",
      defaultFilesystem: "xfs",
      layoutPath: "meta/data",
      requireMount: true,
    });
    expect(config.volumeMap.map(parseVolumeName("vm-7"))).toBe("disks/7.img" as never);
  });

  test.each([
    ["plain", "plain", undefined],
    ["dir", "plain", undefined],
    ["loop", "loop", "ext4"],
    ["fsimg", "loop", "ext4"],
    ["btrfs", "btrfs", undefined],
  ])(
    "of type %s is of the backend %s, with the default filesystem %s",
    (type, backend, defaultFilesystem) => {
      const config = parse(`type: ${type}\nlocation: x\n`);
      expect<unknown>([config.backend, config.defaultFilesystem]).toEqual([backend, defaultFilesystem]);
    },
  );

  test.each(["ext4", "xfs", "btrfs"])("takes default_fs %s where volumes have one", (name) => {
    expect(parse(`type: loop\nlocation: x\ndefault_fs: ${name}\n`).defaultFilesystem).toBe(name as never);
  });

  test.each([
    ["/srv/vm", "/srv/vm"],
    ["vm", "/srv/configs/vm"],
    [".", "/srv/configs"],
    ["../../vm/", "/vm"],
    ["'with space'", "/srv/configs/with space"],
  ])("takes the location %s from its own directory: %s", (said, location) => {
    expect(parse(`type: plain\nlocation: ${said}\n`).location).toBe(location);
  });

  test.each([
    ["flow", "{type: plain, location: x}"],
    ["quoted", `"type": 'plain'\n'location': "x"\n`],
    [
      "a comment, a directive and markers",
      "%YAML 1.2\n# hello\n---\ntype: plain # really\nlocation: x\n...\n",
    ],
    ["an alias", "location: &a plain\ntype: *a\n"],
    ["lines that end with CR and LF", "type: plain\r\nlocation: x\r\n"],
    ["a byte order mark", "\ufefftype: plain\nlocation: x\n"],
    ["a tab after the colon", "type:\tplain\nlocation:\tx\n"],
    ["no end of its last line", "type: plain\nlocation: x"],
  ])("may have the shape %s", (_shape, text) => {
    expect(parse(text)).toMatchObject({ backend: "plain", requireMount: false });
  });

  test.each([
    ["plain", String.raw`^a\(.*\) x/\1`],
    ["single quotes", String.raw`'^a\(.*\) x/\1'`],
    ["double quotes", String.raw`"^a\\(.*\\) x/\\1"`],
    ["more blanks", String.raw`"  ^a\\(.*\\)   x/\\1 "`],
    ["two lines", `^a\\(.*\\)\n  x/\\1`],
  ])("may write its volumeMap as %s", (_how, written) => {
    const { volumeMap } = parse(`type: plain\nlocation: x\nvolumeMap: ${written}\n`);
    expect(volumeMap.map(parseVolumeName("abc"))).toBe("x/bc" as never);
  });
});

test("a config makes errors at its keys for what only the backend finds out", () => {
  const error = parse("type: btrfs\nlocation: /srv\n").faultAt("location", "location: expected a btrfs");
  expect(error).toMatchObject({
    code: "INVALID_CONFIG",
    message: "/srv/configs/vm.mos:2:11: location: expected a btrfs\n  2 | location: /srv\n    |           ^",
    details: {
      file: "/srv/configs/vm.mos",
      line: 2,
      column: 11,
      fault: "location: expected a btrfs",
      source: "location: /srv",
    },
  });
});
