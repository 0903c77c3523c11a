import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../../src");
const MAX_LINES = 400;
const MAX_COLUMNS = 200;

const FILES = readdirSync(ROOT, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .sort()
  .map((path) => ({ path, lines: readFileSync(join(ROOT, path), "utf8").split("\n") }));

const EXPORT =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|const|let|interface|type|enum) (\w+)/;

interface Exported {
  readonly place: string;
  readonly name: string;
  readonly comment: string;
}

/** The exported symbols of a file, each with the doc comment right above it. */
function findExported({ path, lines }: (typeof FILES)[number]): Exported[] {
  return lines.flatMap((line, index) => {
    const name = EXPORT.exec(line)?.[1];
    if (name === undefined) return [];
    let start = index;
    if (lines[index - 1]?.trimEnd().endsWith("*/")) while (start > 0 && !lines[--start]?.startsWith("/**")) {}
    return [{ place: `${path}:${index + 1}`, name, comment: lines.slice(start, index).join("\n") }];
  });
}

const EXPORTED = FILES.flatMap(findExported);

test("all of the source was seen", () => {
  expect(FILES.length).toBeGreaterThan(45);
  expect(EXPORTED.length).toBeGreaterThan(150);
  for (const name of [
    "openMosaic",
    "MosaicError",
    "StoredName",
    "ACTIONS",
    "Backend",
    "listVolumes",
    "FileKey",
  ])
    expect(EXPORTED.map((exported) => exported.name)).toContain(name);
});

describe("every exported symbol has a doc comment:", () => {
  test.each(FILES.map((file) => [file.path, file] as const))("%s", (_path, file) => {
    const bare = findExported(file).filter(({ comment }) => !/^\/\*\*[^@]*\w+ [^@]*\w+/.test(comment));
    expect(bare.map(({ place, name }) => `${place} ${name}`)).toEqual([]);
  });
});

test("nothing is exported as a default, or by the whole file", () => {
  const wrong = FILES.filter(({ lines }) => lines.some((line) => /^export (default|\*)/.test(line)));
  expect(wrong.map(({ path }) => path)).toEqual([]);
});

test(`no file has ${MAX_LINES} lines beside doc comments, and no line ${MAX_COLUMNS} columns`, () => {
  const long = FILES.filter(
    ({ lines }) => lines.filter((line) => !/^\s*(\/\*\*|\*)/.test(line)).length >= MAX_LINES,
  ).map(({ path }) => path);
  expect(long).toEqual([]);
  const longest = FILES.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) =>
      line.length > MAX_COLUMNS && !/["`]/.test(line) && !line.includes("*/") ? [`${path}:${index + 1}`] : [],
    ),
  );
  expect(longest).toEqual([]);
});

test("files are named for what they hold, and no name says nothing", () => {
  const empty = /(^|\/)(utils?|helpers?|common|misc|manager|lib|shared|stuff)(\.ts|\/)/;
  expect(FILES.filter(({ path }) => empty.test(path) || !/^[a-z0-9/]+\.ts$/.test(path))).toEqual([]);
});
