import { MosaicError, quote } from "../base/errors.ts";
import type { StoredName } from "../base/names.ts";
import { closeFd, findStatus } from "../system/files.ts";
import { shellQuote } from "../system/steps.ts";
import type { Finding } from "./finding.ts";
import type { Form } from "./form.ts";
import type { Location } from "./location.ts";
import { hasParents } from "./parents.ts";
import type { Kind, VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { openObject } from "./volumes.ts";

// Findings about objects that are no volumes, each with the command that makes it one where it can be one.

/** An object without a record; undefined when it can be no volume. */
export async function describeForeign(store: Store, name: StoredName): Promise<Finding | undefined> {
  const kind = await findKind(store, name);
  if (kind === "none") return undefined;
  const message = `it is ${store.form.description} without a record: foreign, not listed and never changed`;
  return { code: "foreign", severity: "note", subject: name, message, ...adoptableAs(name, kind) };
}

/** An object whose record says nothing to this version. */
export async function describeUnreadable(store: Store, name: StoredName): Promise<Finding> {
  const message = "its record cannot be read: it is damaged, or of a later version of mosaic";
  const adoptable = adoptableAs(name, await findKind(store, name));
  return { code: "unreadable-record", severity: "problem", subject: name, message, ...adoptable };
}

/** An object with the record of another volume, which it is when that one's place is empty. */
export async function describeCopy(store: Store, name: StoredName, record: VolumeRecord): Promise<Finding> {
  const rest = { subject: name, ...adoptableAs(name, await findKind(store, name)) };
  const isOwn = record.backend === store.form.backend;
  if (isOwn && !findStatus(`${store.location.path}/${record.storedName}`)) {
    const message = `it has the record of the volume ${quote(record.name)}, whose place ${quote(record.storedName)} is empty`;
    const advice = adviseMove(store, name, record.storedName);
    return { code: "moved", severity: "problem", message, ...rest, ...(advice !== undefined && { advice }) };
  }
  const message = `it is a copy: it has the record of the ${isOwn ? "" : `${record.backend} `}volume ${quote(record.name)}`;
  return { code: "copy", severity: "note", message, ...rest };
}

/** The command that brings a volume back; undefined where it would not be found in its place. */
function adviseMove({ location, form }: Store, from: StoredName, to: StoredName): string | undefined {
  if (!hasForm(location, form, from) || !hasParents(location, to)) return undefined;
  return shellQuote(["mv", "-nT", `${location.path}/${from}`, `${location.path}/${to}`]);
}

function adoptableAs(name: StoredName, kind: Kind | "none" | "unknown"): Pick<Finding, "adoptable"> {
  return kind === "none" || kind === "unknown" ? {} : { adoptable: { storedName: name, kind } };
}

/** The kind that an object would be as a volume; unknown where the tool that tells is missing. */
async function findKind(
  { steps, location, form }: Store,
  name: StoredName,
): Promise<Kind | "none" | "unknown"> {
  const object = openObject(location, name);
  if (typeof object !== "number") return "none";
  closeFd(object);
  if (!hasForm(location, form, name)) return "none";
  if (!form.kindOf) return "fs";
  try {
    return (await form.kindOf(steps, `${location.path}/${name}`)) ?? "none";
  } catch (thrown) {
    if (thrown instanceof MosaicError && thrown.code === "UNAVAILABLE") return "unknown";
    throw thrown;
  }
}

function hasForm(location: Location, form: Form, name: StoredName): boolean {
  const status = findStatus(`${location.path}/${name}`);
  return status !== undefined && form.matches(status);
}
