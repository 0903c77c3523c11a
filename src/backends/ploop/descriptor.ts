import { fstatSync, readSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { closeFd, openPath } from "../../system/files.ts";
import { refused } from "./refusal.ts";
import { findChild, parseXml, type XmlElement } from "./xml.ts";

// DiskDescriptor.xml: which images a disk is made of, and which lies over which. Its sizes are sectors of 512 bytes.

/** The name of the descriptor in the directory of a disk. */
export const DESCRIPTOR_NAME = "DiskDescriptor.xml";
/** The name of the first image, as OpenVZ names it. */
export const IMAGE_NAME = "root.hds";
/** The GUID of the image that is written, the same for every disk. */
export const TOP_GUID = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
/** What the lowest image has as its parent. */
export const NO_GUID = "{00000000-0000-0000-0000-000000000000}";
const GUID = /^\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$/i;
const IMAGES_MAX = 256;
const MAX_BYTES = 1024 ** 2;

/** An image of a disk. */
export interface ImageEntry {
  readonly guid: string;
  /** Its name in the directory. */
  readonly file: string;
}

/** What a descriptor says. */
export interface Descriptor {
  readonly sizeSectors: number;
  readonly blockSectors: number;
  /** The images that the disk is read from now, the one that is written first. */
  readonly chain: readonly ImageEntry[];
  /** Those of other snapshots. */
  readonly others: readonly ImageEntry[];
  readonly root: XmlElement;
}

/** The descriptor of the disk in a directory; undefined where there is none. Throws UNSUPPORTED. */
export function findDescriptor(directory: string): Descriptor | undefined {
  const path = `${directory}/${DESCRIPTOR_NAME}`;
  const fd = unlessErrno(["ENOENT", "ENOTDIR", "ELOOP", "ENXIO"], () => openPath(path));
  if (fd === undefined) return undefined;
  try {
    if (!calling("fstat", path, () => fstatSync(fd)).isFile()) return undefined;
    const buffer = Buffer.alloc(MAX_BYTES);
    const bytes = calling("read", path, () => readSync(fd, buffer, 0, MAX_BYTES, 0));
    return parseDescriptor(parseXml(buffer.subarray(0, bytes), path), path);
  } finally {
    closeFd(fd);
  }
}

/** The descriptor of the disk in a directory. Throws DAMAGED when there is none, UNSUPPORTED. */
export function readDescriptor(directory: string): Descriptor {
  const descriptor = findDescriptor(directory);
  if (descriptor) return descriptor;
  const message = `${quote(`${directory}/${DESCRIPTOR_NAME}`)} is missing, without which nobody knows what the images are: bring it back from a backup`;
  throw new MosaicError("DAMAGED", message, { path: directory });
}

function parseDescriptor(root: XmlElement, path: string): Descriptor {
  const parameters = requireChild(root, "Disk_Parameters", path);
  const storages = requireChild(root, "StorageData", path).children.filter(({ name }) => name === "Storage");
  const [storage] = storages;
  if (!storage || storages.length > 1)
    throw refused(path, "a disk in several parts is none that ploop mounts");
  const snapshots = requireChild(root, "Snapshots", path);
  if (hasEncryption(root)) throw refused(path, "the disk is encrypted");
  const images = storage.children
    .filter(({ name }) => name === "Image")
    .map((image) => parseImage(image, path));
  requireDistinct(images, path);
  const chain = orderChain(images, snapshots, path);
  return {
    sizeSectors: readNumber(parameters, "Disk_size", path),
    blockSectors: readNumber(storage, "Blocksize", path),
    chain,
    others: images.filter((image) => !chain.includes(image)),
    root,
  };
}

function parseImage(image: XmlElement, path: string): ImageEntry {
  const [guid, type, file] = ["GUID", "Type", "File"].map((name) => requireChild(image, name, path).text) as [
    string,
    string,
    string,
  ];
  if (!GUID.test(guid)) throw refused(path, `${quote(guid)} is no GUID`);
  if (type !== "Compressed")
    throw refused(path, `an image is of type ${quote(type)}: convert it with ploop convert -f expanded`);
  // What is elsewhere may be anybody's.
  const isPlain =
    file !== "" && !file.includes("/") && file !== "." && file !== ".." && file !== DESCRIPTOR_NAME;
  if (!isPlain || Buffer.byteLength(file) > 255)
    throw refused(path, `the image ${quote(file)} does not lie beside it`);
  return { guid, file };
}

function requireDistinct(images: readonly ImageEntry[], path: string): void {
  if (images.length === 0 || images.length > IMAGES_MAX)
    throw refused(path, `it names ${images.length} images`);
  const guids = new Set(images.map(({ guid }) => guid.toLowerCase()));
  const files = new Set(images.map(({ file }) => file));
  if (Math.min(guids.size, files.size) < images.length) throw refused(path, "it names an image twice");
}

/** From the top by the parents down to the one that has none. */
function orderChain(images: readonly ImageEntry[], snapshots: XmlElement, path: string): ImageEntry[] {
  const shots = snapshots.children.filter(({ name }) => name === "Shot");
  const parents = new Map(
    shots.map((shot) => [
      requireChild(shot, "GUID", path).text.toLowerCase(),
      requireChild(shot, "ParentGUID", path).text,
    ]),
  );
  // Of one image alone older tools wrote no snapshot.
  if (images.length === 1 && shots.length === 0) return [...images];
  const chain: ImageEntry[] = [];
  let guid = findChild(snapshots, "TopGUID")?.text ?? TOP_GUID;
  while (guid !== NO_GUID) {
    const image = images.find((candidate) => isSame(candidate.guid, guid));
    const parent = parents.get(guid.toLowerCase());
    if (!image || parent === undefined || chain.includes(image))
      throw refused(path, `the images below ${quote(guid)} are no chain`);
    chain.push(image);
    guid = parent;
  }
  return chain;
}

function hasEncryption({ name, children }: XmlElement): boolean {
  return /encryption/i.test(name) || children.some(hasEncryption);
}

function readNumber(parent: XmlElement, name: string, path: string): number {
  const { text } = requireChild(parent, name, path);
  const number = Number(text);
  if (!/^\d{1,15}$/.test(text) || number === 0) throw refused(path, `${name} is ${quote(text)}`);
  return number;
}

/** The element of this name in another one. Throws UNSUPPORTED when there is none. */
export function requireChild(parent: XmlElement, name: string, path: string): XmlElement {
  const child = findChild(parent, name);
  if (child) return child;
  throw refused(path, `it has no ${name} in ${parent.name}`);
}

/** Whether two texts are the same GUID. */
export function isSame(guid: string, other: string): boolean {
  return guid.toLowerCase() === other.toLowerCase();
}
