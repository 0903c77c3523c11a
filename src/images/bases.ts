import { MosaicError } from "../base/errors.ts";
import type { StoredName } from "../base/names.ts";
import type { Location } from "../location/location.ts";
import { requireWorkDirectory, workDirectory } from "../location/operation.ts";
import { isParent } from "../location/parents.ts";
import { hasErrno, unlessErrno } from "../system/errno.ts";
import {
  closeFd,
  fileKeyOf,
  findStatus,
  listDirectory,
  makeDirectory,
  openPath,
  removeEmptyDirectory,
  removeFile,
  toFileKey,
} from "../system/files.ts";
import { tryLock } from "../system/libc.ts";
import type { Steps } from "../system/steps.ts";
import type { BlockNode } from "../system/storagedaemon.ts";
import { type Qcow2Header, readHead, readHeader } from "./qcow2.ts";

// What clones share lies in `.mosaic-base/`: images that are never written again, each with a random name, which the
// images above it name. One that no image names any more is removed. Nothing else is followed.

const BASE_DIRECTORY = ".mosaic-base";
const ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const BACKING = new RegExp(`^(?:(?:\\.\\./)*\\.mosaic-base/)?(${ID})$`);
const DEPTH_MAX = 256;

/** One image of a chain, from the volume down. */
export interface Link {
  readonly path: string;
  /** Its name in `.mosaic-base`; null for the volume itself. */
  readonly base: string | null;
  readonly header: Qcow2Header;
}

/** Where bases lie. */
export function baseDirectory(location: Location): string {
  return `${location.path}/${BASE_DIRECTORY}`;
}

/** The path of a base. */
export function basePath(location: Location, base: string): string {
  return `${baseDirectory(location)}/${base}`;
}

/** The name of a base as an image at a stored name has it: relative, so that the location can move. */
export function backingName(name: StoredName, base: string): string {
  return `${"../".repeat(name.split("/").length - 1)}${BASE_DIRECTORY}/${base}`;
}

/** Makes the directory of bases. Throws DAMAGED when it is not root's alone. */
export async function makeBaseDirectory(steps: Steps, location: Location): Promise<void> {
  const path = baseDirectory(location);
  try {
    await makeDirectory(steps, path, 0o700);
  } catch (thrown) {
    if (!hasErrno(thrown, "EEXIST")) throw thrown;
    requireWorkDirectory(path);
  }
}

/** The images that a volume is made of, itself first. Throws DAMAGED where one is missing, UNSUPPORTED for one that moctl did not make. */
export function readChain(location: Location, path: string, fd: number): Link[] {
  const chain: Link[] = [{ path, base: null, header: readHeader(fd, path) }];
  for (;;) {
    const last = chain[chain.length - 1] as Link;
    if (last.header.backing === null) return chain;
    const base = requireBase(last.path, last.header.backing);
    if (chain.some((link) => link.base === base) || chain.length > DEPTH_MAX)
      throw new MosaicError("DAMAGED", `the images below ${JSON.stringify(path)} go round in a circle`, {
        path,
        base,
      });
    chain.push(readBase(location, last.path, base));
  }
}

/** A chain as QEMU opens it, the volume's node with this name; what lies below is never written. */
export function describeChain(chain: readonly Link[], readOnly: boolean, name?: string): BlockNode {
  const [top, ...below] = chain as [Link, ...Link[]];
  return {
    driver: "qcow2",
    ...(name !== undefined && { "node-name": name }),
    "read-only": readOnly,
    discard: "unmap",
    file: { driver: "file", filename: top.path, "read-only": readOnly, discard: "unmap" },
    backing: below.length > 0 ? describeChain(below, true) : null,
  };
}

/** Removes the bases that no image names any more, and `.mosaic-base` when it is empty. */
export async function freeBases(steps: Steps, location: Location): Promise<void> {
  const directory = baseDirectory(location);
  while (await freeUnnamed(steps, location)) {
    // A base that is gone may have been the last to name another.
  }
  if (findStatus(directory)) await removeEmptyDirectory(steps, directory);
}

/** The bases that no image names. */
export function listUnnamed(location: Location): string[] {
  const bases = listDirectory(baseDirectory(location));
  if (bases.length === 0) return [];
  const named = listNamed(location);
  return bases.filter((base) => BACKING.test(base) && !named.has(base));
}

/** The bases that no image would name any more without the one at a path. */
export function listUnnamedWithout(location: Location, path: string): string[] {
  const all = [...listImages(location, location.path)].filter((image) => image !== path);
  const names = new Map(all.map((image) => [image, findNamed(image)]));
  const unnamed: string[] = [];
  for (;;) {
    const gone = new Set(unnamed.map((base) => basePath(location, base)));
    const named = new Set(all.filter((image) => !gone.has(image)).flatMap((image) => names.get(image) ?? []));
    const more = listDirectory(baseDirectory(location)).filter(
      (base) => !named.has(base) && !unnamed.includes(base),
    );
    if (more.length === 0) return unnamed;
    unnamed.push(...more);
  }
}

async function freeUnnamed(steps: Steps, location: Location): Promise<boolean> {
  let isChanged = false;
  for (const base of listUnnamed(location)) {
    const fd = openBase(location, base);
    if (fd === undefined) continue;
    try {
      // A clone has the lock of what it is about to name; and it may have named it since the first look.
      if (!tryLock(fd) || !isStill(location, base, fd) || listNamed(location).has(base)) continue;
      await removeFile(steps, basePath(location, base));
      isChanged = !steps.planning;
    } finally {
      closeFd(fd);
    }
  }
  return isChanged;
}

function isStill(location: Location, base: string, fd: number): boolean {
  const status = findStatus(basePath(location, base));
  return status !== undefined && toFileKey(status.dev, status.ino) === fileKeyOf(fd);
}

/** The bases that any image of the location names: volumes, what is foreign, what is being made or removed, other bases. */
function listNamed(location: Location): Set<string> {
  const named = new Set<string>();
  for (const path of listImages(location, location.path)) {
    // What is to become a volume lies for a moment where its own base will be.
    for (const base of findNamed(path)) if (path !== basePath(location, base)) named.add(base);
  }
  return named;
}

function* listImages(location: Location, directory: string): Generator<string> {
  for (const entry of listDirectory(directory)) {
    const path = `${directory}/${entry}`;
    if (path === `${location.path}/${location.layoutPath}`) continue;
    const status = findStatus(path);
    if (status?.isFile()) yield path;
    else if (status?.isDirectory() && isPlaceOfImages(location, path)) yield* listImages(location, path);
  }
}

function isPlaceOfImages(location: Location, path: string): boolean {
  const work = workDirectory(location);
  return path === work || path.startsWith(`${work}/`) || path === baseDirectory(location) || isParent(path);
}

/** The bases that an image may name: every id in the head of the file, also of one that cannot be read otherwise. */
function findNamed(path: string): string[] {
  const fd = unlessErrno(["ENOENT", "ELOOP", "ENXIO"], () => openPath(path));
  if (fd === undefined) return [];
  try {
    return readHead(fd, path).match(new RegExp(ID, "g")) ?? [];
  } finally {
    closeFd(fd);
  }
}

function requireBase(path: string, name: string): string {
  const base = BACKING.exec(name)?.[1];
  if (base !== undefined) return base;
  const message = `${JSON.stringify(path)} cannot be used: the image below it, ${JSON.stringify(name)}, is none that moctl made; flatten it with qemu-img convert`;
  throw new MosaicError("UNSUPPORTED", message, { path, backing: name });
}

function readBase(location: Location, above: string, base: string): Link {
  const path = basePath(location, base);
  const fd = openBase(location, base);
  if (fd === undefined) {
    const message = `${JSON.stringify(path)} is missing, which ${JSON.stringify(above)} needs: bring it back from a backup`;
    throw new MosaicError("DAMAGED", message, { path: above, base: path });
  }
  try {
    return { path, base, header: readHeader(fd, path) };
  } finally {
    closeFd(fd);
  }
}

function openBase(location: Location, base: string): number | undefined {
  if (!findStatus(basePath(location, base))?.isFile()) return undefined;
  return unlessErrno(["ENOENT", "ELOOP"], () => openPath(basePath(location, base)));
}
