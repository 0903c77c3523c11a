import { adoptVolume, publishVolume } from "../location/changes.ts";
import {
  directoryAccess,
  findDirectoryHolders,
  locationMembers,
  statDirectory,
  surveyDirectories,
} from "../location/core.ts";
import type { Form } from "../location/form.ts";
import { type Location, openLocation } from "../location/location.ts";
import { removeTree } from "../location/removal.ts";
import type { Store } from "../location/store.ts";
import { makeDirectory } from "../system/files.ts";
import { type Backend, type BackendContext, TREE_LIMITS } from "./backend.ts";

/** Volumes are directories of any filesystem: no clone, no device, no limit of their size. */
export function openPlain(context: BackendContext): Backend {
  const location = openLocation(context.location, context);
  const store: Store = { ...context, location, form: directoryForm(location) };
  return {
    ...locationMembers(store),
    limits: TREE_LIMITS,
    create: (record) =>
      publishVolume(store, record, (operation) => makeDirectory(context.steps, operation.volumePath, 0o700)),
    adopt: (record) => adoptVolume(store, record, async () => record),
    survey: () => surveyDirectories(location),
    stat: (address) => statDirectory(store, address),
    directory: directoryAccess(store),
  };
}

function directoryForm(location: Location): Form {
  return {
    backend: "plain",
    description: "a directory",
    matches: (status) => status.isDirectory(),
    holders: (path) => findDirectoryHolders(location, path),
    remove: (steps, path) => removeTree(steps, path),
  };
}
