import { fstatSync, readSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import { calling, unlessErrno } from "../../system/errno.ts";
import { closeFd, openPath } from "../../system/files.ts";
import { refused } from "./refusal.ts";
import { findChild, formatXml, parseXml, type XmlElement } from "./xml.ts";

// DiskDescriptor.xml: which images a disk is made of, and which lies over which. Its sizes are sectors of 512 bytes.

/** The name of the descriptor in the directory of a disk. */
export const DESCRIPTOR_NAME = "DiskDescriptor.xml";
/** The name of the first image, as OpenVZ names it. */
export const IMAGE_NAME = "root.hds";
/** The GUID of the image that is written, the same for every disk. */
export const TOP_GUID = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const NO_GUID = "{00000000-0000-0000-0000-000000000000}";
const GUID = /^\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$/i;
const [HEADS, TRACK_SECTORS] = [16, 32];
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

/** The text of the descriptor of a new disk of one image. */
export function formatNew(sizeSectors: number, blockSectors: number): string {
  const image = element(
    "Image",
    leaf("GUID", TOP_GUID),
    leaf("Type", "Compressed"),
    leaf("File", IMAGE_NAME),
  );
  const shot = element("Shot", leaf("GUID", TOP_GUID), leaf("ParentGUID", NO_GUID));
  const sizes = [leaf("Start", "0"), leaf("End", ""), leaf("Blocksize", String(blockSectors))];
  const geometry = ["Disk_size", "Cylinders", "Heads", "Sectors"].map((name) => leaf(name, ""));
  const root = element(
    "Virtuozzo_disk_image",
    element("Disk_Parameters", ...geometry, leaf("Padding", "0")),
    element("StorageData", element("Storage", ...sizes, image)),
    element("Snapshots", leaf("TopGUID", TOP_GUID), shot),
  );
  return formatResized(root, sizeSectors);
}

/** The text of a descriptor with another size; what else is in it stays. */
export function formatResized(root: XmlElement, sizeSectors: number): string {
  const copy = structuredClone(root);
  const parameters = requireChild(copy, "Disk_Parameters", "");
  const storage = requireChild(requireChild(copy, "StorageData", ""), "Storage", "");
  set(parameters, "Disk_size", sizeSectors);
  set(parameters, "Cylinders", Math.floor(sizeSectors / (HEADS * TRACK_SECTORS)));
  set(parameters, "Heads", HEADS);
  set(parameters, "Sectors", TRACK_SECTORS);
  set(storage, "End", sizeSectors);
  return formatXml(copy);
}

/**
 * The text of a descriptor with a new image over the one that is written now, and another size: as ploop-snapshot(8) does, the new one
 * takes the GUID of the top, and the old one gets another.
 */
export function formatOverlaid(root: XmlElement, file: string, guid: string, sizeSectors: number): string {
  const copy = structuredClone(root);
  const storage = requireChild(requireChild(copy, "StorageData", ""), "Storage", "");
  const snapshots = requireChild(copy, "Snapshots", "");
  const top = findChild(snapshots, "TopGUID")?.text ?? TOP_GUID;
  for (const entry of [...storage.children, ...snapshots.children]) {
    const own = findChild(entry, "GUID");
    if (own && isSame(own.text, top)) own.text = guid;
  }
  storage.children.push(element("Image", leaf("GUID", top), leaf("Type", "Compressed"), leaf("File", file)));
  snapshots.children.push(element("Shot", leaf("GUID", top), leaf("ParentGUID", guid)));
  return formatResized(copy, sizeSectors);
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

function requireChild(parent: XmlElement, name: string, path: string): XmlElement {
  const child = findChild(parent, name);
  if (child) return child;
  throw refused(path, `it has no ${name} in ${parent.name}`);
}

function set(parent: XmlElement, name: string, value: number): void {
  const child = findChild(parent, name);
  if (child) child.text = String(value);
}

function isSame(guid: string, other: string): boolean {
  return guid.toLowerCase() === other.toLowerCase();
}

function leaf(name: string, text: string): XmlElement {
  return { name, text, children: [] };
}

function element(name: string, ...children: XmlElement[]): XmlElement {
  return { name, text: "", children };
}
