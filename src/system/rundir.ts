import { mkdirSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling } from "./errno.ts";
import { findStatus } from "./files.ts";

/** Where what a reboot makes void is kept. */
const RUN_DIRECTORY = "/run/mosaic";

/** The directory below /run for a storage, or for a part of what is kept of it; not made yet. */
export function runDirectoryOf(...names: readonly string[]): string {
  return [process.env.MOSAIC_RUN_DIR ?? RUN_DIRECTORY, ...names].join("/");
}

/** Makes a directory below /run and those above it. Throws DAMAGED where one is not root's alone. */
export function makeRunDirectory(path: string): void {
  const top = runDirectoryOf();
  const below = path
    .slice(top.length)
    .split("/")
    .filter((name) => name !== "");
  for (let depth = 0; depth <= below.length; depth++) makeOwn([top, ...below.slice(0, depth)].join("/"));
}

function makeOwn(path: string): void {
  // Another process may make it at the same moment.
  if (!findStatus(path)) calling("mkdir", path, () => mkdirSync(path, { mode: 0o700, recursive: true }));
  const status = findStatus(path);
  if (status?.isDirectory() && status.uid === 0n && (status.mode & 0o022n) === 0n) return;
  throw new MosaicError(
    "DAMAGED",
    `${quote(path)} is not a directory of root's alone: look at it and remove it`,
    { path },
  );
}
