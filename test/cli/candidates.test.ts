import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ACTION_NAMES, actionOf, findAction } from "../../src/api/actions.ts";
import { SERVER_FLAGS, SERVER_STARTS } from "../../src/api/serving.ts";
import { COMMON_FLAGS, parseCommand, SHELLS } from "../../src/cli/arguments.ts";
import { listCandidates } from "../../src/cli/candidates.ts";
import { formatCompletion } from "../../src/cli/completion.ts";
import { makeTestDirectory, removeTestDirectory, run } from "../support/beds.ts";

/** The words that are offered for the last one; a line's words have no blanks, and nothing after the last is a word too. */
async function offer(line: string, shellName: (typeof SHELLS)[number] = "fish"): Promise<string[]> {
  const lines = (await listCandidates(shellName, line.split(" "))).split("\n").slice(0, -1);
  return lines.map((text) => text.split("\t")[0] ?? "");
}

let directory = "";
const before = { directory: process.env.MOSAIC_CONFIG_DIR, home: process.env.HOME };
beforeAll(() => {
  directory = makeTestDirectory("candidates");
  process.env.MOSAIC_CONFIG_DIR = join(directory, "etc");
  mkdirSync(join(directory, "etc"));
  for (const name of ["vm.mos", "vm.yaml", "ct.yml", "none", ".mos", "a b.mos", "README.txt"])
    writeFileSync(join(directory, "etc", name), "type: [\n", { mode: 0o644 });
});
afterAll(() => {
  for (const [name, value] of [
    ["MOSAIC_CONFIG_DIR", before.directory],
    ["HOME", before.home],
  ] as const)
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  removeTestDirectory(directory);
});

const FLAGS = Object.keys(COMMON_FLAGS);

describe("what is offered", () => {
  test.each<[string, string[]]>([
    ["", ["ct", "vm"]],
    ["v", ["vm"]],
    ["./", [":files"]],
    ["/etc/mo", [":files"]],
    ["~/", [":files"]],
    ["man", ["man"]],
    ["comp", ["completion"]],
    ["zzz", []],
    ["vm d", ["detach", "drop"]],
    ["vm ch", ["check"]],
    ["vm x", []],
    ["vm nonsense ", []],
    ["completion ", [...ACTION_NAMES, "rpc", ...SHELLS]],
    ["vm r", ["resize", "rpc"]],
    ["vm rpc ", Object.keys(SERVER_FLAGS)],
    ["vm rpc --f", ["--framing"]],
    ["vm rpc --framing ", ["auto", "ndjson", "lsp"]],
    ["vm rpc --framing l", ["lsp"]],
    ["--rpc --protocol ", ["1"]],
    ["--rpc --framing lsp --", Object.keys(SERVER_FLAGS).filter((flag) => flag !== "--framing")],
    ["--r", ["--rpc"]],
    ["vm list --r", []],
    ["completion z", ["zsh"]],
    ["vm create ", ["fs", "disk"]],
    ["vm new d", ["disk"]],
    ["vm create fs ", []],
    ["vm create fs web ", []],
    ["vm clone web ", []],
    ["vm adopt fs ", []],
    ["vm mount -o ", ["ro", "rw"]],
    ["vm mount web -o r", ["ro", "rw"]],
    ["-o ", ["ro", "rw"]],
    ["vm mount ", ["-"]],
    ["vm mount -", ["-"]],
    ["vm mount web ", [":directories"]],
    ["vm m -o ro - ", [":directories"]],
    ["vm umount web ", [":directories"]],
    ["vm umount web /mnt ", []],
    ["vm adopt --from ", [":files"]],
    ["vm --wait ", []],
    ["vm --wait 5 cre", ["create"]],
    ["--json vm cre", ["create"]],
    ["vm list ", []],
    ["vm list --j", ["--json"]],
    ["vm mount --", FLAGS],
    ["vm adopt --f", ["--from"]],
    ["vm check --r", ["--repair"]],
    ["vm list --json --", FLAGS.filter((flag) => flag !== "--json")],
    ["vm create -- f", ["fs"]],
    ["vm create -- --", []],
    ["vm mount -- ", ["-"]],
  ])("for %j", async (line, words) => {
    expect(await offer(line)).toEqual(words);
  });

  test("is every action, with what it does", async () => {
    expect(await listCandidates("zsh", ["vm", ""])).toBe(
      [...ACTION_NAMES.map((name) => [name, actionOf(name).summary]), ["rpc", SERVER_STARTS["CONFIG rpc"]]]
        .map(([word, what]) => `${word}\t${what}\n`)
        .join(""),
    );
  });

  test.each([...ACTION_NAMES])("are the flags of %s beside the common ones", async (action) => {
    const own = Object.values(actionOf(action).arguments).flatMap(({ flag }) => flag ?? []);
    const offered = new Set([...(await offer(`vm ${action} --`)), ...(await offer(`vm ${action} -o`))]);
    for (const flag of [...own, ...FLAGS]) expect(offered).toContain(flag);
  });
});

describe("nothing is offered, and nothing said, of a mosaic", () => {
  test("whose config is wrong, missing, or no file that ends", async () => {
    run("mkfifo", join(directory, "pipe.mos"));
    for (const config of ["vm", "nowhere", directory, join(directory, "pipe.mos"), "a/b"])
      expect({ config, offered: await offer(`${config} drop `) }).toEqual({ config, offered: [] });
  });

  test("when the directory of configs is missing", async () => {
    process.env.MOSAIC_CONFIG_DIR = join(directory, "none");
    expect(await offer("")).toEqual([]);
    process.env.MOSAIC_CONFIG_DIR = join(directory, "etc");
  });
});

describe("the command line of completions", () => {
  test.each([...SHELLS])("can be no config with an action: completion %s", async (shellName) => {
    expect(findAction(shellName)).toBeUndefined();
    expect(await parseCommand(["completion", shellName])).toEqual({ what: "completion", shellName });
    const typed = ["vm", "--json", "--", ""];
    expect(await parseCommand(["completion", shellName, "--", ...typed])).toEqual({
      what: "complete",
      shellName,
      typed,
    });
  });

  test("leaves configs of the same name alone", async () => {
    expect(await parseCommand(["completion", "info"])).toMatchObject({ what: "run", mosaic: "completion" });
    expect(await parseCommand(["man", "list"])).toMatchObject({ what: "run", mosaic: "man" });
    expect(await parseCommand(["man"])).toEqual({ what: "man" });
    expect(await parseCommand(["--json", "man"])).toEqual({ what: "man" });
  });

  test("asks for a shell where none is said", async () => {
    await expect(parseCommand(["completion"])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "Usage: moctl completion {bash|zsh|fish}: expected a shell",
    });
  });

  test("gives each shell a script of its own, which asks the program of PATH", () => {
    for (const shellName of SHELLS)
      expect(formatCompletion(shellName)).toContain(`command moctl completion ${shellName} -- `);
  });
});
