import { constants, linkSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling } from "./errno.ts";
import { closeFd, findStatus } from "./files.ts";

/** Where what a reboot makes void is kept. */
const RUN_DIRECTORY = "/run/mosaic";

/** The directory below /run for a storage, or for a part of what is kept of it; not made yet. */
export function runDirectoryOf(...names: readonly string[]): string {
  return [process.env.MOSAIC_RUN_DIR ?? RUN_DIRECTORY, ...names].join("/");
}

/** The name of the file in which a storage daemon shows the content of an image. */
export const EXPORT_NAME = "raw";

/** The directories below /run in which the storage daemons of a storage show images, each with the id of its volume. */
export function exportsDirectoryOf(identity: string): string {
  return runDirectoryOf(identity, "export");
}

/** Whether a path is where a storage daemon shows an image. */
export function isExportPath(path: string): boolean {
  const top = `${runDirectoryOf()}/`;
  return path.startsWith(top) && /^[^/]+\/export\/[^/]+\/raw$/.test(path.slice(top.length));
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

/** Gives a file below /run this content: a reader finds the old one or the new one, never a part. */
export function replaceRunFile(path: string, text: string): void {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const next = `${path}.new`;
  const fd = calling("open", next, () => openSync(next, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600));
  try {
    const bytes = Buffer.from(text);
    for (let written = 0; written < bytes.length; )
      written += calling("write", next, () => writeSync(fd, bytes, written));
  } finally {
    closeFd(fd);
  }
  calling("rename", next, () => renameSync(next, path));
}

/** Keeps a file below /run under the name of the old one too, so that its own name can be given to a new one. */
export function keepOldRunFile(path: string): void {
  const old = `${path}.old`;
  calling("unlink", old, () => rmSync(old, { force: true }));
  calling("link", old, () => linkSync(path, old));
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
