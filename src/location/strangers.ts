import { quote } from "../base/errors.ts";
import type { StoredName } from "../base/names.ts";
import { closeFd, findStatus } from "../system/files.ts";
import { shellQuote } from "../system/steps.ts";
import type { Finding } from "./finding.ts";
import type { Form } from "./form.ts";
import type { Location } from "./location.ts";
import { hasParents } from "./parents.ts";
import type { VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { openObject } from "./volumes.ts";

// Findings about objects that are no volumes, each with the command that makes it one where it can be one.

/** An object without a record; undefined when it can be no volume. */
export async function describeForeign(store: Store, name: StoredName): Promise<Finding | undefined> {
  const adoptable = await findAdoptable(store, name);
  if (!adoptable) return undefined;
  const message = `it is ${store.form.description} without a record: foreign, not listed and never changed`;
  return { code: "foreign", severity: "note", subject: name, message, adoptable };
}

/** An object whose record says nothing to this version. */
export async function describeUnreadable(store: Store, name: StoredName): Promise<Finding> {
  const message = "its record cannot be read: it is damaged, or of a later version of mosaic";
  const adoptable = await findAdoptable(store, name);
  return {
    code: "unreadable-record",
    severity: "problem",
    subject: name,
    message,
    ...(adoptable && { adoptable }),
  };
}

/** An object with the record of another volume, which it is when that one's place is empty. */
export async function describeCopy(store: Store, name: StoredName, record: VolumeRecord): Promise<Finding> {
  const adoptable = await findAdoptable(store, name);
  const rest = { subject: name, ...(adoptable && { adoptable }) };
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

async function findAdoptable(
  { steps, location, form }: Store,
  name: StoredName,
): Promise<Finding["adoptable"]> {
  const object = openObject(location, name);
  if (typeof object !== "number") return undefined;
  closeFd(object);
  if (!hasForm(location, form, name)) return undefined;
  const kind = form.kindOf ? await form.kindOf(steps, `${location.path}/${name}`) : "fs";
  return kind && { storedName: name, kind };
}

function hasForm(location: Location, form: Form, name: StoredName): boolean {
  const status = findStatus(`${location.path}/${name}`);
  return status !== undefined && form.matches(status);
}
