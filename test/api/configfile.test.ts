import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CONFIG_DIRECTORY, mosaicNameOf, readConfigFile } from "../../src/api/configfile.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

let directory = "";
const before = { MOSAIC_CONFIG_DIR: process.env.MOSAIC_CONFIG_DIR, cwd: process.cwd() };

beforeAll(() => {
  directory = makeTestDirectory("configfile");
});

afterEach(() => {
  process.chdir(before.cwd);
  if (before.MOSAIC_CONFIG_DIR === undefined) delete process.env.MOSAIC_CONFIG_DIR;
  else process.env.MOSAIC_CONFIG_DIR = before.MOSAIC_CONFIG_DIR;
});

afterAll(() => removeTestDirectory(directory));

function writeConfig(name: string): string {
  const path = join(directory, name);
  writeFileSync(path, `# ${name}\n`, { mode: 0o644 });
  return path;
}

describe("a path", () => {
  test("is a word that begins with a slash or a dot, from the working directory", () => {
    const path = writeConfig("path.conf");
    mkdirSync(join(directory, "below"));
    process.chdir(join(directory, "below"));
    for (const said of [path, "../path.conf", "./../path.conf", `${directory}/below/../path.conf`])
      expect(readConfigFile(said)).toEqual({ path, text: "# path.conf\n" });
  });

  test("that leads to nothing is NOT_FOUND", () => {
    const file = writeConfig("file.mos");
    for (const path of [join(directory, "none.mos"), join(directory, "none/x.mos"), join(file, "x.mos")])
      expect(() => readConfigFile(path)).toThrow(
        expect.objectContaining({
          code: "NOT_FOUND",
          message: `There is no config ${JSON.stringify(path)}`,
          details: { mosaic: path, tried: [path] },
        }),
      );
  });

  test("from a working directory that is gone is refused, and not looked for elsewhere", () => {
    const code = `
      import { readConfigFile } from ${JSON.stringify(join(import.meta.dir, "../../src/api/configfile.ts"))};
      try { readConfigFile("./x.mos"); } catch (thrown) { console.log(thrown.code, thrown.message); }`;
    const gone = join(directory, "gone");
    mkdirSync(gone);
    const argv = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', gone, process.execPath, "-e", code];
    const child = Bun.spawnSync(argv, { timeout: 20_000 });
    expect(child.stderr.toString()).toBe("");
    expect(child.stdout.toString()).toBe(
      'INVALID_ARGUMENT Cannot find "./x.mos": the working directory is gone\n',
    );
  });

  test("with a NUL byte is INVALID_ARGUMENT", () => {
    expect(() => readConfigFile("./a\0b")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("a name", () => {
  test("is looked for in MOSAIC_CONFIG_DIR, with each ending in its order", () => {
    process.env.MOSAIC_CONFIG_DIR = directory;
    for (const ending of [".yml", ".yaml", ".mos"]) {
      const path = writeConfig(`vm${ending}`);
      expect(readConfigFile("vm")).toEqual({ path, text: `# vm${ending}\n` });
      expect(readConfigFile(`vm${ending}`).path).toBe(path);
    }
    expect(readConfigFile("vm.yml").path).toBe(join(directory, "vm.yml"));
  });

  test("of a directory without any file is NOT_FOUND and says where it looked", () => {
    process.env.MOSAIC_CONFIG_DIR = directory;
    writeConfig("bare");
    const tried = [".mos", ".yaml", ".yml"].map((ending) => join(directory, `bare${ending}`));
    expect(() => readConfigFile("bare")).toThrow(
      expect.objectContaining({
        code: "NOT_FOUND",
        message: `There is no mosaic "bare": no ${tried.join(", ")}`,
        details: { mosaic: "bare", tried },
      }),
    );
  });

  test("that is the name of a file here is NOT_FOUND with the way to say that file", () => {
    process.env.MOSAIC_CONFIG_DIR = directory;
    expect(() => readConfigFile("package.json")).toThrow("; for the file here say ./package.json");
  });

  test.each([undefined, ""])("is looked for in /etc/mosaic when MOSAIC_CONFIG_DIR is %j", (value) => {
    if (value === undefined) delete process.env.MOSAIC_CONFIG_DIR;
    else process.env.MOSAIC_CONFIG_DIR = value;
    const said = "no-such-mosaic-1f0c";
    expect(() => readConfigFile(said)).toThrow(`no ${CONFIG_DIRECTORY}/${said}.mos, `);
  });

  test("finds a link that leads nowhere and refuses it, rather than to look for the next ending", () => {
    process.env.MOSAIC_CONFIG_DIR = directory;
    symlinkSync("nowhere", join(directory, "dangling.mos"));
    writeConfig("dangling.yml");
    expect(() => readConfigFile("dangling")).toThrow("it is a symbolic link");
    rmSync(join(directory, "dangling.mos"));
    expect(readConfigFile("dangling").path).toEndWith("/dangling.yml");
  });

  test.each(["", "-", "-rf", "a/b", "~/vm", "a b", "vm\n", "vm\0", "é", "$(id)"])("%j is refused", (said) => {
    process.env.MOSAIC_CONFIG_DIR = directory;
    expect(() => readConfigFile(said)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining(`Invalid name of a mosaic ${JSON.stringify(said)}`),
      }),
    );
  });

  test("with a slash is told how to say a path", () => {
    expect(() => readConfigFile("configs/vm.mos")).toThrow('; for a path say "./configs/vm.mos"');
  });
});

test.each([
  ["/etc/mosaic/vm.mos", "vm"],
  ["/etc/mosaic/vm.yaml", "vm"],
  ["/etc/mosaic/vm.yml", "vm"],
  ["/etc/mosaic.d/vm", "vm"],
  ["/srv/vm.conf", "vm.conf"],
  ["/srv/a.mos.yml", "a.mos"],
  ["/srv/.mos", ".mos"],
])("the mosaic of %j is named %j", (path, name) => {
  expect(mosaicNameOf(path)).toBe(name);
});
