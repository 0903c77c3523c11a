import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

// The source read as text: what may know what, and what is never used.

const ROOT = join(import.meta.dir, "../../src");

interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Text without comments, where a rule is about code. */
  readonly code: string;
  readonly imports: readonly string[];
}

const FILES: readonly SourceFile[] = readdirSync(ROOT, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .sort()
  .map(readSource);

function readSource(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), "utf8");
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "");
  const specifiers = [...code.matchAll(/\bfrom "([^"]+)"|\bimport\("([^"]+)"\)|^import "([^"]+)"/gm)];
  return { path, text, code, imports: specifiers.map((match) => match[1] ?? match[2] ?? match[3] ?? "") };
}

/** The layers, each with those below it that it may know beside itself. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  system: ["base"],
  filesystems: ["base", "system"],
  location: ["base", "system"],
  images: ["base", "system", "filesystems", "location"],
  backends: ["base", "system", "filesystems", "location", "images"],
  api: ["base", "system", "filesystems", "location", "images", "backends"],
  cli: ["base", "system", "filesystems", "location", "images", "backends", "api"],
  rpc: ["base", "system", "filesystems", "location", "images", "backends", "api"],
};

const layerOf = (path: string) => (path.includes("/") ? (path.split("/")[0] ?? "") : "top");

/** The files of ours that a file imports, by their paths below the source; files that it takes as texts are no code. */
const importsOf = (file: SourceFile) =>
  file.imports
    .filter((specifier) => specifier.startsWith(".") && specifier.endsWith(".ts"))
    .map((specifier) => relative(ROOT, resolve(ROOT, dirname(file.path), specifier)));

const filesWith = (pattern: RegExp) => FILES.filter(({ code }) => pattern.test(code)).map(({ path }) => path);

test("all of the source was seen", () => {
  expect(FILES.length).toBeGreaterThan(45);
  expect(FILES.flatMap(importsOf).length).toBeGreaterThan(150);
  const layers = new Set(FILES.map(({ path }) => layerOf(path)));
  for (const layer of [
    "base",
    "system",
    "filesystems",
    "location",
    "images",
    "backends",
    "api",
    "cli",
    "rpc",
    "top",
  ])
    expect(layers).toContain(layer);
  const known = new Set(FILES.map(({ path }) => path));
  expect(FILES.flatMap(importsOf).filter((path) => !known.has(path))).toEqual([]);
});

describe("imports point down only:", () => {
  test.each(FILES.map((file) => [file.path, file] as const))("%s", (path, file) => {
    const layer = layerOf(path);
    if (layer === "top") return expect(["main.ts", "index.ts"]).toContain(path);
    const allowed = LAYERS[layer];
    expect(allowed).toBeDefined();
    const wrong = importsOf(file).filter(
      (other) => layerOf(other) !== layer && !allowed?.includes(layerOf(other)),
    );
    expect(wrong).toEqual([]);
  });
});

describe("one place for each:", () => {
  test("nothing but the registry names a backend, and no backend knows another", () => {
    // A backend is a file or a folder of backends/; what it is made of lies in its folder.
    const partOf = (path: string) => /^backends\/([^/.]+)/.exec(path)?.[1];
    const shared = ["backend", "registry"];
    const crossing = FILES.flatMap((file) =>
      importsOf(file)
        .filter((other) => {
          const part = partOf(other);
          return part !== undefined && !shared.includes(part) && part !== partOf(file.path);
        })
        .map(() => file.path),
    );
    expect([...new Set(crossing)]).toEqual(["backends/registry.ts"]);
  });

  test.each<[string, RegExp, readonly string[]]>([
    [
      "programs are started",
      /\bBun\s*\.\s*spawn(Sync)?\b|node:child_process|"child_process"/,
      ["system/runner.ts"],
    ],
    ["foreign functions are called", /"bun:ffi"/, ["system/libc.ts"]],
    ["the process ends", /\bprocess\s*\.\s*(exit|abort|reallyExit)\b/, ["main.ts"]],
    ["the arguments are read", /\bprocess\s*\.\s*argv\b|\bBun\s*\.\s*argv\b/, ["main.ts"]],
    ["signals are handled", /\bprocess\s*\.\s*(on|once)\(/, ["main.ts"]],
    ["standard output is written", /\bBun\s*\.\s*stdout\b/, ["cli/output.ts"]],
    ["a rename replaces a file", /\brename(Sync)?\(/, ["system/durablefile.ts", "system/rundir.ts"]],
    // The noise of a test, which must not reach the protocol.
    ["console.log is used", /\bconsole\s*\.\s*(log|info|warn|debug)\b/, ["rpc/selftest.ts"]],
    [
      "standard error is written",
      /\bconsole\s*\.\s*error\b/,
      ["cli/output.ts", "main.ts", "rpc/selftest.ts"],
    ],
  ])("%s", (_what, pattern, places) => {
    expect(filesWith(pattern)).toEqual([...places]);
  });
});

test.each<[string, RegExp]>([
  ["the standard streams of node", /\bprocess\s*\.\s*(stdout|stderr|stdin)\b/],
  ["node:process", /from "(node:)?process"/],
  ["a shell", /\bBun\s*\.\s*\$|import\s*\{[^}]*\$[^}]*\}\s*from "bun"|\bshell\s*:/],
  ["the YAML of the runtime, which takes duplicate keys", /\bBun\s*\.\s*YAML\b/],
  ["code from strings", /\beval\(|\bnew Function\(/],
  ["an escape from the types", /@ts-ignore|@ts-nocheck|@ts-expect-error|\bas any\b|: any\b/],
])("nothing uses %s", (_what, pattern) => {
  expect(filesWith(pattern)).toEqual([]);
});

test("only yaml and zod come from outside, and neither they nor the manual are loaded at every start", () => {
  const outside = (file: SourceFile) => file.imports.filter((name) => !/^(\.|node:|bun:)/.test(name));
  expect([...new Set(FILES.flatMap(outside))].sort()).toEqual(["yaml", "zod/mini"]);
  const seen = new Set<string>();
  const visit = (path: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    const file = FILES.find((candidate) => candidate.path === path);
    // What is awaited is loaded when it is reached; a type is loaded never.
    const atStart = (file?.code ?? "").replaceAll(/import type [\s\S]*?;/g, "").matchAll(/\bfrom "([^"]+)"/g);
    for (const [, specifier = ""] of atStart) {
      if (!specifier.startsWith(".")) seen.add(specifier);
      else visit(relative(ROOT, resolve(ROOT, dirname(path), specifier)));
    }
  };
  visit("main.ts");
  expect(seen.size).toBeGreaterThan(10);
  const own = ["api/manual.ts", "cli/help.ts", "cli/man.ts", "cli/completion.ts"];
  for (const heavy of own) expect(FILES.map(({ path }) => path)).toContain(heavy);
  for (const heavy of ["yaml", "zod/mini", "node:util", "node:child_process", ...own])
    expect([...seen]).not.toContain(heavy);
});
