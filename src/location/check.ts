import { MosaicError, quote } from "../base/errors.ts";
import { isName, parseStoredName, type StoredName } from "../base/names.ts";
import { findStatus, listDirectory } from "../system/files.ts";
import type { Finding } from "./finding.ts";
import { workDirectory } from "./operation.ts";
import { hasParents, isMadeParent, isParent, makeParents, pruneParents } from "./parents.ts";
import { parseRecord, type VolumeRecord } from "./record.ts";
import type { Store } from "./store.ts";
import { describeCopy, describeForeign, describeUnreadable } from "./strangers.ts";
import { listLeftovers, sweepLeftover } from "./sweep.ts";
import { findVolume, isMountedOver, readRecordAttribute } from "./volumes.ts";

// What can be wrong in a location whatever its backend: left-overs of killed runs, records and objects that do not belong
// together, directories that no volume needs.

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
    if (!isName(name) || name === location.layoutPath) continue;
    // What is mounted there is not of the location, whatever record it shows.
    if (!isMountedOver(location, name)) yield* checkEntry(store, parseStoredName(name));
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
  // Above the metadata lies no volume, as the name is reserved.
  const isGroup = isParent(path) || store.location.layoutPath.startsWith(`${name}/`);
  const finding = store.form.matches(status) && !isGroup ? await describeForeign(store, name) : undefined;
  if (finding) yield finding;
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

/** A volume in a directory that mosaic does not look into. */
function describeUnlisted({ steps, location }: Store, name: StoredName): Finding {
  return {
    code: "unlisted",
    severity: "problem",
    subject: name,
    message: "it is a volume, but a directory above it is not marked as one that holds volumes: not listed",
    repair: () => makeParents(steps, location, name, workDirectory(location)),
  };
}

async function checkRecord(
  store: Store,
  name: StoredName,
  record: VolumeRecord | undefined,
): Promise<Finding | undefined> {
  try {
    const found = findVolume(store.location, store.form, name);
    if (found.state === "absent") return undefined;
    if (found.state === "volume")
      return hasParents(store.location, name) ? undefined : describeUnlisted(store, name);
    if (!record) return await describeUnreadable(store, name);
    if (record.storedName === name && record.backend === store.form.backend)
      return { code: "refused", severity: "problem", subject: name, message: found.why };
    return await describeCopy(store, name, record);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "DAMAGED") throw thrown;
    return { code: "contradiction", severity: "problem", subject: name, message: thrown.message };
  }
}
