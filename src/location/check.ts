import { MosaicError, quote } from "../base/errors.ts";
import { isNameComponent, parseStoredName, type StoredName } from "../base/names.ts";
import { closeFd, findStatus, listDirectory } from "../system/files.ts";
import { shellQuote } from "../system/steps.ts";
import type { Finding } from "./finding.ts";
import { isMadeParent, isParent, pruneParents } from "./parents.ts";
import { parseRecord, type VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { listLeftovers, sweepLeftover } from "./sweep.ts";
import { findVolume, openObject, readRecordAttribute } from "./volumes.ts";

// What can be wrong in a location whatever its backend: left-overs of killed runs, records and objects that do not belong
// together, directories that no volume needs.

const DEPTH_MAX = 8;
const SECOND_LOOK_MS = 100;

/** What is wrong, or worth knowing, in a location. */
export async function* checkLocation(store: Store): AsyncGenerator<Finding> {
  yield* checkLeftovers(store);
  yield* checkDirectory(store, "");
}

async function* checkLeftovers(store: Store): AsyncGenerator<Finding> {
  const { location } = store;
  let leftovers: string[];
  try {
    leftovers = listLeftovers(location);
    // An operation that just begins has its directory a moment before its lock.
    if (leftovers.length > 0) await Bun.sleep(SECOND_LOOK_MS);
    const again = new Set(listLeftovers(location));
    leftovers = leftovers.filter((path) => again.has(path));
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    yield { code: "work-directory", severity: "problem", subject: location.path, message: thrown.message };
    return;
  }
  for (const path of leftovers) {
    yield {
      code: "leftover",
      severity: "problem",
      subject: path,
      message: "a command that was killed left it; the next create, clone, drop or adopt removes it",
      repair: () => removeLeftover(store, path),
    };
  }
}

async function removeLeftover({ steps, location, form }: Store, path: string): Promise<void> {
  const [error] = await sweepLeftover(steps, location, form, path);
  if (error) throw error;
  if (steps.planning || !findStatus(path)) return;
  throw new MosaicError("DAMAGED", `${quote(path)} holds what mosaic did not make: look at it and remove it`);
}

async function* checkDirectory(store: Store, directory: string): AsyncGenerator<Finding> {
  const { location } = store;
  for (const entry of listDirectory(`${location.path}/${directory}`).sort()) {
    const name = directory === "" ? entry : `${directory}/${entry}`;
    if (!isNameComponent(entry) || name === location.layoutPath) continue;
    if (name.split("/").length <= DEPTH_MAX) yield* checkEntry(store, parseStoredName(name));
  }
}

async function* checkEntry(store: Store, name: StoredName): AsyncGenerator<Finding> {
  const path = `${store.location.path}/${name}`;
  const value = readRecordAttribute(path);
  if (value) {
    const finding = await checkRecord(store, name, parseRecord(value));
    if (finding) yield finding;
    return;
  }
  const status = findStatus(path);
  if (!status) return;
  const isGroup = isParent(path);
  if (store.form.matches(status) && !isGroup) yield await describeForeign(store, name);
  else if (status.isDirectory() && status.dev === findStatus(store.location.path)?.dev) {
    yield* checkDirectory(store, name);
    if (isGroup) yield* checkParent(store, name);
  }
}

async function* checkParent({ steps, location }: Store, name: StoredName): AsyncGenerator<Finding> {
  const path = `${location.path}/${name}`;
  if (!isMadeParent(path) || listDirectory(path).length > 0) return;
  yield {
    code: "needless-parent",
    severity: "problem",
    subject: name,
    message: "mosaic made this directory for volumes, and there are none in it",
    repair: () => pruneParents(steps, location, parseStoredName(`${name}/x`)),
  };
}

async function checkRecord(
  store: Store,
  name: StoredName,
  record: VolumeRecord | undefined,
): Promise<Finding | undefined> {
  try {
    const found = findVolume(store.location, store.form, name);
    if (found.state === "volume" || found.state === "absent") return undefined;
    if (!record) return await describeUnreadable(store, name);
    if (record.storedName === name && record.backend === store.form.backend)
      return { code: "refused", severity: "problem", subject: name, message: found.why };
    return await describeCopy(store, name, record);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "DAMAGED") throw thrown;
    return { code: "contradiction", severity: "problem", subject: name, message: thrown.message };
  }
}

async function describeCopy(store: Store, name: StoredName, record: VolumeRecord): Promise<Finding> {
  const adoptable = await describeAdoptable(store, name);
  const isOriginal =
    record.backend === store.form.backend && !findStatus(`${store.location.path}/${record.storedName}`);
  if (isOriginal) {
    const from = `${store.location.path}/${name}`;
    return {
      code: "moved",
      severity: "problem",
      subject: name,
      message: `it has the record of the volume ${quote(record.name)}, whose place ${quote(record.storedName)} is empty`,
      advice: shellQuote(["mv", "-nT", from, `${store.location.path}/${record.storedName}`]),
      ...adoptable,
    };
  }
  const owner = `${record.backend === store.form.backend ? "" : `${record.backend} `}volume ${quote(record.name)}`;
  const message = `it is a copy: it has the record of the ${owner}`;
  return { code: "copy", severity: "note", subject: name, message, ...adoptable };
}

async function describeUnreadable(store: Store, name: StoredName): Promise<Finding> {
  const message = "its record cannot be read: it is damaged, or of a later version of mosaic";
  return {
    code: "unreadable-record",
    severity: "problem",
    subject: name,
    message,
    ...(await describeAdoptable(store, name)),
  };
}

async function describeForeign(store: Store, name: StoredName): Promise<Finding> {
  const message = `it is ${store.form.description} without a record: foreign, not listed and never changed`;
  return {
    code: "foreign",
    severity: "note",
    subject: name,
    message,
    ...(await describeAdoptable(store, name)),
  };
}

async function describeAdoptable({ steps, location, form }: Store, name: StoredName) {
  const object = openObject(location, name);
  if (typeof object !== "number") return {};
  closeFd(object);
  const kind = (await form.kindOf?.(steps, `${location.path}/${name}`)) ?? "fs";
  return { adoptable: { storedName: name, kind } };
}
