import { constants, fstatSync, lstatSync, readSync, realpathSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno } from "../system/errno.ts";
import { closeFd, findStatus, openPath } from "../system/files.ts";
import { shellQuote } from "../system/steps.ts";

/** Where configs lie that are said by name; MOSAIC_CONFIG_DIR names another directory. */
export const CONFIG_DIRECTORY = "/etc/mosaic";
/** The endings of config files, tried in this order. */
export const CONFIG_ENDINGS = [".mos", ".yaml", ".yml"] as const;
const STICKY = 0o1000;
const CONFIG_MAX_BYTES = 64 * 1024;

/** The text of a config and where it came from. */
export interface ConfigFile {
  readonly path: string;
  readonly text: string;
}

/** Reads the config that `said` names: a path when it begins with "." or "/", else a name in the config directory. */
export function readConfigFile(said: string): ConfigFile {
  const path = findConfigPath(said);
  const fd = openConfig(path, said);
  try {
    return { path, text: readText(path, fd) };
  } finally {
    closeFd(fd);
  }
}

/** The mosaic's own name: the file's name without its ending. */
export function mosaicNameOf(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  const ending = CONFIG_ENDINGS.find((candidate) => file.endsWith(candidate));
  return ending && file !== ending ? file.slice(0, -ending.length) : file;
}

/** The directory of configs that are said by name. */
export function configDirectory(): string {
  return resolvePath(process.env.MOSAIC_CONFIG_DIR || CONFIG_DIRECTORY);
}

function findConfigPath(said: string): string {
  if (said.startsWith("/") || said.startsWith(".")) return resolvePath(said);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(said)) {
    const advice = said.includes("/") ? `; for a path say ${quote(`./${said}`)}` : "";
    throw new MosaicError(
      "INVALID_ARGUMENT",
      `Invalid name of a mosaic ${quote(said)}: letters, digits, '.', '_' and '-' are allowed${advice}`,
    );
  }
  const candidates = ["", ...CONFIG_ENDINGS]
    .map((ending) => `${said}${ending}`)
    .filter((file) => CONFIG_ENDINGS.some((ending) => file.endsWith(ending)));
  const paths = candidates.map((file) => join(configDirectory(), file));
  const found = paths.find((path) => findStatus(path));
  if (found) return found;
  const advice = findStatus(said) ? `; for the file here say ./${said}` : "";
  throw new MosaicError("NOT_FOUND", `There is no mosaic ${quote(said)}: no ${paths.join(", ")}${advice}`, {
    mosaic: said,
    tried: paths,
  });
}

function resolvePath(path: string): string {
  try {
    // Bun's resolve() goes on without a working directory; cwd() says that it is gone.
    return isAbsolute(path) ? resolve(path) : resolve(process.cwd(), path);
  } catch (thrown) {
    throw new MosaicError(
      "INVALID_ARGUMENT",
      `Cannot find ${quote(path)}: the working directory is gone`,
      {},
      thrown,
    );
  }
}

function openConfig(path: string, said: string): number {
  try {
    return openPath(path);
  } catch (thrown) {
    if (hasErrno(thrown, "ENOENT", "ENOTDIR"))
      throw new MosaicError(
        "NOT_FOUND",
        `There is no config ${quote(path)}`,
        { mosaic: said, tried: [path] },
        thrown,
      );
    if (hasErrno(thrown, "ELOOP"))
      throw refusal(path, `it is a symbolic link: name the file that it leads to, ${findTarget(path)}`);
    if (hasErrno(thrown, "ENXIO")) throw refusal(path, "it is not a regular file");
    throw thrown;
  }
}

/** Whoever may write the config of a root's tool is root: the file and every directory above it are root's alone. */
function readText(path: string, fd: number): string {
  const status = fstatSync(fd);
  if (!status.isFile()) throw refusal(path, "it is not a regular file");
  if (status.size > CONFIG_MAX_BYTES)
    throw refusal(path, `it has ${status.size} bytes, and a config has at most ${CONFIG_MAX_BYTES}`);
  if (process.geteuid?.() === 0) requireRootsOwn(path, status);
  const buffer = Buffer.alloc(CONFIG_MAX_BYTES + 1);
  let length = 0;
  for (let count = -1; count !== 0; length += count) {
    count = calling("read", path, () => readSync(fd, buffer, length, buffer.length - length, null));
  }
  if (length > CONFIG_MAX_BYTES) throw refusal(path, `it has more than ${CONFIG_MAX_BYTES} bytes`);
  return buffer.toString("utf8", 0, length);
}

function requireRootsOwn(path: string, status: { uid: number; mode: number; nlink: number }): void {
  if (status.uid !== 0)
    throw refusal(path, `user ${status.uid} owns it: ${shellQuote(["chown", "root", path])}`);
  if (isWritableByOthers(status.mode)) {
    throw refusal(path, `others may write it: ${shellQuote(["chmod", "go-w", path])}`);
  }
  if (status.nlink !== 1) throw refusal(path, `it has ${status.nlink} hard links: make a copy of its own`);
  // A link on the way leads elsewhere: both ways have to be root's.
  const ways = new Set([...listAncestors(path), ...listAncestors(realpathSync(path))]);
  for (const above of ways) requireRootsDirectory(path, above);
}

function requireRootsDirectory(path: string, above: string): void {
  const { uid, mode } = lstatSync(above);
  const isLink = (mode & constants.S_IFMT) === constants.S_IFLNK;
  if (uid !== 0) {
    const what = isLink ? "link" : "directory";
    throw refusal(
      path,
      `user ${uid} owns the ${what} ${quote(above)} above it: move it to ${CONFIG_DIRECTORY}`,
    );
  }
  if (isLink || !isWritableByOthers(mode) || (mode & STICKY) !== 0) return;
  throw refusal(
    path,
    `others may write the directory ${quote(above)} above it: ${shellQuote(["chmod", "go-w", above])}`,
  );
}

/** "/a" and "/" for "/a/b". */
function listAncestors(path: string): string[] {
  const above = dirname(path);
  return above === path ? [] : [above, ...listAncestors(above)];
}

function isWritableByOthers(mode: number): boolean {
  return (mode & (constants.S_IWGRP | constants.S_IWOTH)) !== 0;
}

function findTarget(path: string): string {
  try {
    return quote(realpathSync(path));
  } catch {
    return "which is missing";
  }
}

function refusal(path: string, why: string): MosaicError {
  return new MosaicError("INVALID_CONFIG", `Refused the config ${quote(path)}: ${why}`, { file: path, why });
}
