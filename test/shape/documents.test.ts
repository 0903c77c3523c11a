import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { renewRegions } from "../../scripts/documents/regions.ts";
import { BACKENDS } from "../../src/backends/registry.ts";
import { FILESYSTEM_NAMES, filesystemOf } from "../../src/filesystems/registry.ts";
import { packageOf, type Tool } from "../../src/system/runner.ts";
import { BEDS, makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

// The documents: what is generated is fresh, what is written by hand agrees with the source.

const ROOT = join(import.meta.dir, "../..");
const DOCUMENTS = ["README.md", "doc/config.txt", "doc/libmosaic.txt", "doc/moctl.txt", "doc/moctl.8"];

const read = (path: string, root = ROOT) => readFileSync(join(root, path), "utf8");

let directory = "";
beforeAll(() => {
  directory = makeTestDirectory("documents");
});
afterAll(() => removeTestDirectory(directory));

/** A copy of the project, whose documents are generated and checked as those of the project are. */
function copyProject(name: string): string {
  const project = join(directory, name);
  mkdirSync(project);
  for (const part of ["src", "scripts", "doc", "README.md", "package.json", "bun.lock", "tsconfig.json"])
    cpSync(join(ROOT, part), join(project, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(project, "node_modules"));
  return project;
}

function generate(project: string, ...args: string[]) {
  const child = Bun.spawnSync([join(project, "scripts/generate"), ...args], { timeout: 60_000 });
  return { exit: child.exitCode, said: child.stderr.toString() };
}

function change(project: string, path: string, from: string, to: string): void {
  const text = read(path, project);
  if (!text.includes(from)) throw new Error(`${path} has no ${from}`);
  writeFileSync(join(project, path), text.replace(from, to));
}

describe("scripts/generate", () => {
  test("finds nothing stale in the project as it is", () => {
    expect(generate(copyProject("fresh"), "--check")).toEqual({ exit: 0, said: "" });
  });

  test("names every stale document, changes nothing with --check, and makes them fresh without", () => {
    const project = copyProject("stale");
    for (const path of DOCUMENTS.slice(0, -1)) {
      const text = read(path, project).replace(/( *\[end\]|<!-- end -->)\n/, "by hand\n\n$1\n");
      writeFileSync(join(project, path), text);
    }
    appendFileSync(join(project, "doc/moctl.8"), "by hand\n");
    const before = DOCUMENTS.map((path) => read(path, project));
    const { exit, said } = generate(project, "--check");
    expect(exit).toBe(1);
    for (const path of DOCUMENTS)
      expect(said).toContain(`generate: ${path} is stale: run scripts/generate\n`);
    expect(DOCUMENTS.map((path) => read(path, project))).toEqual(before);
    expect(generate(project).exit).toBe(0);
    expect(DOCUMENTS.map((path) => read(path, project))).toEqual(DOCUMENTS.map((path) => read(path)));
  });

  test("sees a change of each source that a document is made of", () => {
    const project = copyProject("changed");
    for (const [path, from, to] of [
      ["src/api/manual/devices.ts", "Removes the", "Takes away the"],
      ["src/api/configschema.ts", "a mapping with", "a map with"],
      ["src/api/volume.ts", "Destroys it and", "Ends it and"],
      ["src/backends/registry.ts", "yes, a snapshot", "by snapshots"],
    ] as const)
      change(project, path, from, to);
    const { exit, said } = generate(project, "--check");
    expect(exit).toBe(1);
    for (const path of DOCUMENTS) expect(said).toContain(`generate: ${path} is stale`);
  });

  test.each([
    [
      "not described once: BackendName",
      "src/index.ts",
      "export { Volume",
      'export type { BackendName } from "./backends/registry.ts";\nexport { Volume',
    ],
    [
      "uses Space, which is not exported",
      "src/index.ts",
      "{ PoolHealth, Space, VolumeStat }",
      "{ PoolHealth, VolumeStat }",
    ],
    ["there is no part nothing", "doc/moctl.txt", "[generated: options]", "[generated: nothing]"],
    ["a tag that is not known", "src/api/volume.ts", "Destroys it", "@throws Destroys it"],
  ])("refuses what it does not understand: %s", (says, path, from, to) => {
    const project = copyProject(says.replaceAll(/\W/g, "-"));
    change(project, path, from, to);
    if (says.includes("Space")) change(project, "doc/libmosaic.txt", "MosaicLimits Space", "MosaicLimits");
    const { exit, said } = generate(project, "--check");
    expect({ exit, said }).toEqual({ exit: 1, said: expect.stringContaining(says) });
  });
});

test.each([
  ["no end", "[generated: a]\n", "has no end"],
  ["no end before the next", "[generated: a]\n[generated: b]\n[end]\n", "has no end"],
  ["no start", "[end]\n", "has no start"],
  ["no part at all", "text\n", "no part is generated"],
])("a document whose generated part has %s is refused", (_what, text, says) => {
  expect(() => renewRegions(text, () => ["x"])).toThrow(says);
});

describe("the manual page", () => {
  const CHECKS = [
    ["man", "--warnings", "-E", "UTF-8", "-l", "doc/moctl.8"],
    ["groff", "-man", "-Tutf8", "-ww", "-z", "doc/moctl.8"],
    ["mandoc", "-T", "lint", "-W", "error", "doc/moctl.8"],
  ].filter(([tool = ""]) => Bun.which(tool) !== null);

  test("is checked by a tool that is there", () => {
    expect(CHECKS.map(([tool]) => tool)).toContain("man");
  });

  test.each(CHECKS.map((argv) => [argv[0] ?? "", argv] as const))("is right for %s", (_tool, argv) => {
    const env = { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "80", MANPAGER: "cat" };
    const child = Bun.spawnSync(argv, { cwd: ROOT, env, stdin: "ignore", timeout: 60_000 });
    expect([child.exitCode, child.stderr.toString()]).toEqual([0, ""]);
    if (argv[0] === "mandoc") expect(child.stdout.toString()).toBe("");
  });

  test("has every section of the text that it is made of", () => {
    const sections = read("doc/moctl.txt").match(/^[A-Z][A-Z ,]+$/gm) ?? [];
    expect(sections.length).toBeGreaterThan(15);
    for (const section of sections) expect(read("doc/moctl.8")).toContain(`.SH "${section}"`);
  });
});

describe("README.md", () => {
  const readme = read("README.md");

  test.each(Object.keys(BACKENDS) as (keyof typeof BACKENDS)[])("says of %s what its beds show", (name) => {
    const { words } = BACKENDS[name];
    const features: readonly string[] = BEDS[name].flatMap((bed): readonly string[] => bed.features);
    expect([words.clone !== "no", words.device !== "no"]).toEqual([
      features.includes("clone"),
      features.includes("bdev"),
    ]);
  });

  test("names every tool that a mosaic can need, and its package", () => {
    const tools = [
      ...Object.values(BACKENDS).flatMap((row): readonly Tool[] => row.tools),
      ...FILESYSTEM_NAMES.flatMap((name) => filesystemOf(name).tools),
    ];
    expect(tools.length).toBeGreaterThan(8);
    for (const tool of tools) {
      const lines = readme
        .split("\n")
        .filter((line) => line.startsWith("| ") && line.includes(`\`${tool}\``));
      expect({ tool, isThere: lines.some((line) => line.includes(packageOf(tool))) }).toEqual({
        tool,
        isThere: true,
      });
    }
  });
});
