import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

// The examples of the library's manual compile.

const ROOT = join(import.meta.dir, "../..");
const MANUAL = readFileSync(join(ROOT, "doc/libmosaic.txt"), "utf8");

/** The examples, each as its lines. */
const EXAMPLES = [...MANUAL.matchAll(/^ {6}Example\n((?: {10}.*\n|\n(?= {10}))+)/gm)].map(
  ([, text = ""]) => text,
);

let project = "";
beforeAll(() => {
  project = makeTestDirectory("examples");
  for (const part of ["src", "package.json", "tsconfig.json"])
    cpSync(join(ROOT, part), join(project, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(project, "node_modules"));
  mkdirSync(join(project, "examples"));
  const options = { noUnusedLocals: false, noUnusedParameters: false };
  const config = { extends: "./tsconfig.json", compilerOptions: options, include: ["src", "examples"] };
  writeFileSync(join(project, "tsconfig.examples.json"), JSON.stringify(config));
});
afterAll(() => removeTestDirectory(project));

/** The names that src/index.ts exports, as an import of all of them. */
function importAll(): string {
  const index = readFileSync(join(ROOT, "src/index.ts"), "utf8");
  const names = [...index.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(([, isType = "", list = ""]) =>
    list
      .split(",")
      .map((name) => name.trim())
      .filter(Boolean)
      .map((name) => (isType ? `type ${name}` : name)),
  );
  return `import { ${names.join(", ")} } from "../src/index.ts";`;
}

test("the examples of the library's manual compile", () => {
  expect(EXAMPLES.length).toBeGreaterThan(30);
  const header = `${importAll()}\ndeclare const mosaic: Mosaic, volume: Volume;\n`;
  for (const [index, text] of EXAMPLES.entries()) {
    const code = `${header}export async function run() {\n${text}}\n`;
    writeFileSync(join(project, `examples/${index}.ts`), code);
  }
  const argv = [join(ROOT, "node_modules/.bin/tsc"), "-p", "tsconfig.examples.json", "--pretty", "false"];
  const { exitCode, stdout } = Bun.spawnSync(argv, { cwd: project, timeout: 120_000 });
  expect([exitCode, stdout.toString()]).toEqual([0, ""]);
}, 120_000);
