import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import packageFile from "../../package.json";
import {
  describeActions,
  describeOptions,
  describePrefixes,
  describeStatuses,
  listSynopses,
} from "../../src/cli/reference.ts";
import { describeOpenRpc } from "../../src/rpc/server.ts";
import { describeKeys, listKeysOfTypes } from "./config.ts";
import { describeSymbols, loadLibrary, requireComplete } from "./library.ts";
import { tabulateBackends } from "./readme.ts";
import { dropMarkers, renewRegions } from "./regions.ts";
import { formatRoff } from "./roff.ts";

// Makes the generated parts of the documents anew; with --check it only says which of them are stale.

const ROOT = join(import.meta.dir, "../..");

const PARTS: Readonly<Record<string, Readonly<Record<string, () => string[]>>>> = {
  "README.md": { backends: tabulateBackends },
  "doc/config.txt": { keys: describeKeys, "keys of types": listKeysOfTypes },
  "doc/moctl.txt": {
    synopsis: listSynopses,
    prefixes: describePrefixes,
    actions: describeActions,
    options: describeOptions,
    statuses: describeStatuses,
  },
};

async function* renewAll(): AsyncGenerator<[path: string, text: string]> {
  for (const [path, parts] of Object.entries(PARTS)) yield [path, renewParts(path, parts)];
  yield ["doc/libmosaic.txt", renewLibrary(read("doc/libmosaic.txt"))];
  const manual = renewParts("doc/moctl.txt", PARTS["doc/moctl.txt"] ?? {});
  yield [
    "doc/openrpc.json",
    `${JSON.stringify(await describeOpenRpc(packageFile.version, undefined), null, 2)}\n`,
  ];
  yield ["doc/moctl.8", formatRoff(dropMarkers(manual))];
}

function renewParts(path: string, parts: Readonly<Record<string, () => string[]>>): string {
  const missing = new Set(Object.keys(parts));
  const text = renewRegions(read(path), (name) => {
    const part = Object.hasOwn(parts, name) ? parts[name] : undefined;
    if (!part) throw new Error(`${path}: there is no part ${name}`);
    missing.delete(name);
    return part();
  });
  if (missing.size > 0) throw new Error(`${path} lacks the parts ${[...missing].join(", ")}`);
  return text;
}

/** Each part of the library's manual names its symbols; each exported symbol is in one of them. */
function renewLibrary(text: string): string {
  const library = loadLibrary(ROOT);
  const described: string[] = [];
  const renewed = renewRegions(text, (names) => {
    described.push(...names.split(" "));
    return describeSymbols(library, names.split(" "));
  });
  requireComplete(library, described);
  return renewed;
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

const isCheck = process.argv[2] === "--check";
const stale: string[] = [];
for await (const [path, text] of renewAll()) {
  if (existsSync(join(ROOT, path)) && read(path) === text) continue;
  stale.push(path);
  if (!isCheck) writeFileSync(join(ROOT, path), text);
}
for (const path of stale)
  console.error(
    isCheck ? `generate: ${path} is stale: run scripts/generate` : `generate: ${path} is renewed`,
  );
process.exit(isCheck && stale.length > 0 ? 1 : 0);
