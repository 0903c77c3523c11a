import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

// What must not compile: a copy of the source is changed in one place, and the compiler must object there.

const ROOT = join(import.meta.dir, "../..");
const IMPORTS = `
  import type { Backend, BackendCore, BlockAccess, DirectoryAccess } from "../src/backends/backend.ts";
  import { parseStoredName, parseVolumeName, type StoredName, type VolumeName } from "../src/base/names.ts";
  import { MosaicError } from "../src/base/errors.ts";
  declare const core: BackendCore, block: BlockAccess, directory: DirectoryAccess;
  export const used = [core, block, directory, parseStoredName, parseVolumeName, MosaicError];
`;

let directory = "";
beforeAll(() => {
  directory = makeTestDirectory("compile");
});
afterAll(() => removeTestDirectory(directory));

/** A copy of the source and of the beds, which the compiler takes as a project of its own. */
function copyProject(name: string): string {
  const project = join(directory, name);
  mkdirSync(join(project, "snippets"), { recursive: true });
  for (const part of ["src", "test/support", "package.json", "tsconfig.json"])
    cpSync(join(ROOT, part), join(project, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(project, "node_modules"));
  const config = { extends: "./tsconfig.json", include: ["src", "test", "snippets"] };
  writeFileSync(join(project, "tsconfig.all.json"), JSON.stringify(config));
  return project;
}

/** The places of the compiler's errors, such as "src/cli/exitcodes.ts: TS2741". */
function compile(project: string): string[] {
  const argv = [join(ROOT, "node_modules/.bin/tsc"), "-p", "tsconfig.all.json", "--pretty", "false"];
  const result = Bun.spawnSync(argv, { cwd: project, timeout: 120_000 });
  const output = result.stdout.toString();
  const errors = [...output.matchAll(/^(\S+)\(\d+,\d+\): error (TS\d+)/gm)].map(
    ([, path, code]) => `${path}: ${code}`,
  );
  if ((result.exitCode === 0) !== (errors.length === 0)) throw new Error(`the compiler failed: ${output}`);
  return [...new Set(errors)];
}

function replaceIn(project: string, path: string, from: string | RegExp, to: string): void {
  const text = readFileSync(join(project, path), "utf8");
  const changed = text.replace(from, to);
  if (changed === text) throw new Error(`${path} has no ${from}`);
  writeFileSync(join(project, path), changed);
}

const SNIPPETS: readonly [what: string, code: string, compiles: boolean][] = [
  ["a backend with a device", "export const backend: Backend = { ...core, block };", true],
  ["a backend with a directory", "export const backend: Backend = { ...core, directory };", true],
  ["a backend with both", "export const backend: Backend = { ...core, block, directory };", true],
  ["a backend without a way in", "export const backend: Backend = { ...core };", false],
  [
    "a backend that only claims a way in",
    "export const backend: Backend = { ...core, block: undefined };",
    false,
  ],
  ["half a way in", "export const backend: Backend = { ...core, block: { attach: block.attach } };", false],
  ["a flag in place of a way in", "export const backend: Backend = { ...core, block: true };", false],
  ["a clone that is a flag", "export const backend: Backend = { ...core, block, clone: true };", false],
  ["a stored name that was parsed", 'export const name: StoredName = parseStoredName("a");', true],
  ["a plain text as a stored name", 'export const name: StoredName = "a";', false],
  ["a volume name as a stored name", 'export const name: StoredName = parseVolumeName("a");', false],
  ["a stored name as a volume name", 'export const name: VolumeName = parseStoredName("a");', false],
  ["an error with a code of the list", 'export const error = new MosaicError("BUSY", "x");', true],
  ["an error with a code of its own", 'export const error = new MosaicError("WRONG", "x");', false],
];

describe("in a snippet", () => {
  let errors: string[] = [];
  beforeAll(() => {
    const project = copyProject("snippets");
    for (const [index, [, code]] of SNIPPETS.entries())
      writeFileSync(join(project, `snippets/${index}.ts`), IMPORTS + code);
    errors = compile(project);
  }, 120_000);

  test("the source itself compiles", () => {
    expect(errors.filter((error) => !error.startsWith("snippets/"))).toEqual([]);
  });

  test.each(SNIPPETS.map((snippet, index) => [snippet[0], index, snippet[2]] as const))(
    "%s",
    (_what, index, compiles) => {
      expect(errors.some((error) => error.startsWith(`snippets/${index}.ts: TS2`))).toBe(!compiles);
    },
  );
});

const CHANGES: readonly [what: string, path: string, from: string | RegExp, to: string, error: string][] = [
  [
    "an error code without an exit status",
    "src/base/errors.ts",
    /export type ErrorCode =/,
    'export type ErrorCode =\n  | "NEW_CODE"',
    "src/cli/exitcodes.ts: TS2741",
  ],
  [
    "a backend without a bed",
    "src/backends/registry.ts",
    /export const BACKENDS = \{/,
    'export const BACKENDS = {\n  extra: { summary: "", aliases: [], keys: [], open: openPlain },',
    "test/support/beds.ts: TS2741",
  ],
  [
    "an action whose function and schema differ",
    "src/api/actions.ts",
    "volume: z.string(), mountPoint: z.string(), readOnly: z.optional(z.boolean())",
    "volume: z.string(), mountPoint: z.int(), readOnly: z.optional(z.boolean())",
    "src/api/actions.ts: TS2345",
  ],
];

test.each(CHANGES)(
  "%s does not compile",
  (what, path, from, to, error) => {
    const project = copyProject(what.replaceAll(" ", "-"));
    replaceIn(project, path, from, to);
    expect(compile(project).filter((found) => found.startsWith(error))).not.toEqual([]);
  },
  120_000,
);
