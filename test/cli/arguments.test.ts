import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ACTION_NAMES, type ActionName } from "../../src/api/actions.ts";
import { COMMON_FLAGS, parseCommand, parseOptions, synopsisOf } from "../../src/cli/arguments.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

/** The words of a command line whose words have no blanks. */
const words = (line: string): string[] => line.split(" ").filter((word) => word !== "");

describe("a command line", () => {
  const MOUNT = { volume: "web", mountPoint: "/mnt" };
  test.each([
    ["vm mount web /mnt", "mount", MOUNT],
    ["vm m web /mnt", "mount", MOUNT],
    ["vm mount - /mnt", "mount", { volume: "-", mountPoint: "/mnt" }],
    ["vm mount -o ro web /mnt", "mount", { ...MOUNT, readOnly: true }],
    ["vm mount web /mnt -o rw", "mount", { ...MOUNT, readOnly: false }],
    ["vm mount web -o ro /mnt", "mount", { ...MOUNT, readOnly: true }],
    ["-o ro vm mount web /mnt", "mount", { ...MOUNT, readOnly: true }],
    ["--json vm mount web /mnt", "mount", MOUNT],
    ["vm --wait 5 mount --verbose web --dry-run /mnt --debug", "mount", MOUNT],
    ["vm mount -o ro -- web /mnt", "mount", { ...MOUNT, readOnly: true }],
    ["vm u - /mnt", "umount", { volume: "-", mountPoint: "/mnt" }],
    ["vm drop -- -rf", "drop", { volume: "-rf" }],
    ["vm drop -- --", "drop", { volume: "--" }],
    ["vm -- drop --json", "drop", { volume: "--json" }],
    ["vm create fs web 512M", "create", { kind: "fs", volume: "web", sizeBytes: 512 * 1024 ** 2 }],
    ["vm new f web 1k", "create", { kind: "fs", volume: "web", sizeBytes: 1024 }],
    ["vm c d web 4096", "create", { kind: "disk", volume: "web", sizeBytes: 4096 }],
    ["vm create disk web", "create", { kind: "disk", volume: "web" }],
    ["vm clone golden web", "clone", { origin: "golden", volume: "web" }],
    ["vm info", "info", {}],
    ["vm i web", "info", { volume: "web" }],
    ["vm resize web 2g", "resize", { volume: "web", sizeBytes: 2 * 1024 ** 3 }],
    ["vm resize --shrink web 4096", "resize", { volume: "web", sizeBytes: 4096, shrink: true }],
    ["vm check", "check", {}],
    ["vm ch --repair", "check", { repair: true }],
    ["vm l", "list", {}],
    ["vm adopt fs old", "adopt", { kind: "fs", volume: "old" }],
    ["./a.mos have web", "have", { volume: "web" }],
  ] as const)("%j", async (line, action, values) => {
    const [mosaic = ""] = words(line).filter((word) => ["vm", "./a.mos"].includes(word));
    expect(await parseCommand(words(line))).toEqual({ what: "run", mosaic, action, values });
  });

  test("has an empty word where it says one", async () => {
    expect(await parseCommand(["vm", "drop", ""])).toMatchObject({ values: { volume: "" } });
    expect(await parseCommand(["", "info"])).toMatchObject({ mosaic: "" });
  });

  test.each([
    ["--version", { what: "version" }],
    ["vm drop --version", { what: "version" }],
    ["--help", { what: "help" }],
    ["vm --help", { what: "help" }],
    ["drop --help", { what: "help", action: "drop" }],
    ["vm drop --help", { what: "help", action: "drop" }],
    ["--help vm dr web too many", { what: "help", action: "drop" }],
  ])("%j asks for %j", async (line, command) => {
    expect(await parseCommand(words(line))).toEqual({ action: undefined, ...command } as never);
  });

  test("whose --version wins has no action", async () => {
    expect(await parseCommand(["--version"])).toEqual({ what: "version" });
  });
});

describe("a wrong command line is refused:", () => {
  const usage = (action: ActionName, why: string) => `Usage: ${synopsisOf(action)}: ${why}`;
  test.each([
    ["", "Usage: moctl CONFIG ACTION ARGUMENT ...: expected a config and an action; see moctl --help"],
    ["vm", "Usage: moctl CONFIG ACTION ARGUMENT ...: expected a config and an action; see moctl --help"],
    ["vm unmount web /mnt", 'Unknown action "unmount": did you mean umount?'],
    ["vm frobnicate", `Unknown action "frobnicate": expected one of ${ACTION_NAMES.join(", ")}`],
    ["vm mount web", usage("mount", "MOUNTPOINT is missing")],
    ["vm mount", usage("mount", "{VOLUME|-} is missing")],
    ["vm clone golden", usage("clone", "NEW is missing")],
    ["vm create fs", usage("create", "VOLUME is missing")],
    ["vm drop", usage("drop", "VOLUME is missing")],
    ["vm drop a b c", usage("drop", 'unexpected "b"')],
    ["vm info x y", usage("info", 'unexpected "y"')],
    ["vm resize web", usage("resize", "SIZE is missing")],
    ["vm drop web --repair", usage("drop", "drop has no option --repair")],
    ["vm create fs web 1M extra", usage("create", 'unexpected "extra"')],
    ["vm drop -o ro web", usage("drop", "drop has no option -o")],
    ["vm drop web --from none.json", usage("drop", "drop has no option --from")],
    ["vm mount -o", "The option -o needs a value"],
    ["vm mount web /mnt -o noexec", 'Unknown mount flag "noexec": expected ro or rw'],
    ["vm create file web 1M", 'Unknown {fs|disk} "file": expected fs or disk'],
    ["vm create fs web 1Q", 'Invalid size "1Q": expected a whole number'],
    ["vm drop -rf", 'Unknown option "-rf": see moctl --help; after -- a word is never an option'],
    ["vm drop --jsn web", 'Unknown option "--jsn": did you mean --json?'],
    ["vm drop --dryrun web", 'Unknown option "--dryrun": did you mean --dry-run?'],
    ["vm drop --json=1 web", 'Unknown option "--json=1": '],
    ["vm drop -x web", 'Unknown option "-x": '],
    ["vm drop --force web", 'Unknown option "--force": '],
  ])("%j", async (line, message) => {
    await expect(parseCommand(words(line))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(message),
    });
  });

  test("an empty kind is no prefix of fs", async () => {
    await expect(parseCommand(["vm", "create", "", "web"])).rejects.toThrow(
      'Unknown {fs|disk} "": expected fs or disk',
    );
  });

  test("usage errors carry the synopsis as data", async () => {
    await expect(parseCommand(["vm", "drop"])).rejects.toMatchObject({
      details: { synopsis: "moctl CONFIG drop VOLUME" },
    });
  });
});

describe("a saved list after --from", () => {
  let directory = "";
  beforeAll(() => {
    directory = makeTestDirectory("arguments");
    writeFileSync(join(directory, "list.json"), '{"volumes":[]}');
    writeFileSync(join(directory, "half.json"), '{"volumes":[');
  });
  afterAll(() => removeTestDirectory(directory));

  test("is read", async () => {
    const path = join(directory, "list.json");
    for (const argv of [
      ["vm", "adopt", "--from", path],
      ["vm", "--from", path, "ad"],
    ])
      expect(await parseCommand(argv)).toMatchObject({ action: "adopt", values: { list: { volumes: [] } } });
  });

  test.each(["none.json", "half.json", "."])("that is no JSON file is refused: %s", async (name) => {
    const path = join(directory, name);
    await expect(parseCommand(["vm", "adopt", "--from", path])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`Cannot read ${JSON.stringify(path)} as JSON: `),
    });
  });
});

describe("the options", () => {
  const NONE = { json: false, dryRun: false, verbose: false, debug: false, waitSeconds: 30 };
  test.each([
    ["vm list", NONE],
    ["--json vm list", { ...NONE, json: true }],
    ["vm list --json --verbose", { ...NONE, json: true, verbose: true }],
    ["vm drop --dry-run --debug x", { ...NONE, dryRun: true, debug: true }],
    ["vm drop x -- --json --wait 7", NONE],
    ["vm --wait 0 drop x", { ...NONE, waitSeconds: 0 }],
    ["vm drop x --wait 999999", { ...NONE, waitSeconds: 999_999 }],
    ["nonsense --bogus --json", { ...NONE, json: true }],
  ])("of %j", (line, options) => {
    expect(parseOptions(words(line))).toEqual(options);
  });

  test.each(["-1", "1.5", "1s", "x", "1000000", "--json", ""])("refuse to wait for %j seconds", (value) => {
    expect(() => parseOptions(["vm", "drop", "x", "--wait", value])).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: `Invalid value ${JSON.stringify(value)} of --wait: expected a whole number of seconds`,
      }),
    );
  });

  test("refuse to wait for nothing", () => {
    expect(parseCommand(["vm", "drop", "x", "--wait"])).rejects.toThrow("--wait needs a value");
  });

  test("are not read from what is another option's value", () => {
    expect(parseOptions(["vm", "mount", "-o", "--json", "a", "/mnt"]).json).toBe(false);
    expect(parseOptions(["vm", "adopt", "--from", "--wait"]).waitSeconds).toBe(30);
  });

  test("are all taken by the parser of commands", async () => {
    for (const flag of Object.keys(COMMON_FLAGS)) {
      const value = flag === "--wait" ? ["5"] : [];
      expect(["run", "help", "version"]).toContain((await parseCommand(["vm", "info", flag, ...value])).what);
    }
  });
});

test.each([
  ["mount", "moctl CONFIG mount [-o FLAGS] {VOLUME|-} MOUNTPOINT"],
  ["umount", "moctl CONFIG umount {VOLUME|-} MOUNTPOINT"],
  ["attach", "moctl CONFIG attach [-o FLAGS] [--export nbd] VOLUME"],
  ["detach", "moctl CONFIG detach VOLUME"],
  ["create", "moctl CONFIG create {fs|disk} VOLUME [SIZE]"],
  ["clone", "moctl CONFIG clone OLD NEW"],
  ["drop", "moctl CONFIG drop VOLUME"],
  ["info", "moctl CONFIG info [VOLUME]"],
  ["resize", "moctl CONFIG resize [--shrink] VOLUME SIZE"],
  ["check", "moctl CONFIG check [--repair]"],
  ["have", "moctl CONFIG have VOLUME"],
  ["list", "moctl CONFIG list"],
  ["adopt", "moctl CONFIG adopt [--from LIST.json] [{fs|disk}] [VOLUME]"],
] as const)("the synopsis of %s", (action, synopsis) => {
  expect(synopsisOf(action)).toBe(synopsis);
});
