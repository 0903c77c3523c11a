import { IMAGE_NAME, isSame, NO_GUID, requireChild, TOP_GUID } from "./descriptor.ts";
import { findChild, formatXml, type XmlElement } from "./xml.ts";

const [HEADS, TRACK_SECTORS] = [16, 32];

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

function set(parent: XmlElement, name: string, value: number): void {
  const child = findChild(parent, name);
  if (child) child.text = String(value);
}

function leaf(name: string, text: string): XmlElement {
  return { name, text, children: [] };
}

function element(name: string, ...children: XmlElement[]): XmlElement {
  return { name, text: "", children };
}
