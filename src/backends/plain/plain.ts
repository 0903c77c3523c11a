import { adoptVolume, publishVolume } from "../../location/changes.ts";
import { checkLocation } from "../../location/check.ts";
import {
  directoryAccess,
  findDirectoryHolders,
  locationMembers,
  statDirectory,
  surveyDirectories,
} from "../../location/core.ts";
import type { Form } from "../../location/form.ts";
import { type Location, openLocation } from "../../location/location.ts";
import { removeTree } from "../../location/removal.ts";
import type { Store } from "../../location/store.ts";
import { makeDirectory } from "../../system/files.ts";
import { type Backend, type BackendContext, type Limits, TREE_LIMITS } from "../backend.ts";
import {
  checkProjects,
  findLimitStep,
  findProjectObstacle,
  limitDirectory,
  readDirectoryLimit,
  resizeDirectory,
  unlimitDirectory,
} from "./projects.ts";

/** Volumes are directories of any filesystem: no clone, no device; their sizes are kept where project quotas are. */
export function openPlain(context: BackendContext): Backend {
  const { steps, quota } = context;
  const location = openLocation(context.location, context);
  const store: Store = { ...context, location, form: directoryForm(location, quota !== undefined) };
  const sizeObstacle = quota === undefined ? undefined : findProjectObstacle(location);
  const areSizesKept = quota !== undefined && !sizeObstacle;
  return {
    ...locationMembers(store),
    limits: areSizesKept ? describeLimits(location) : TREE_LIMITS,
    sizeObstacle,
    create: (record) =>
      publishVolume(store, record, async ({ volumePath }) => {
        await makeDirectory(steps, volumePath, 0o700);
        if (areSizesKept && record.sizeBytes !== null)
          await limitDirectory(steps, location, volumePath, record.sizeBytes);
      }),
    adopt: (record) => adoptVolume(store, record, async () => record),
    survey: () => surveyDirectories(location),
    stat: (address) =>
      statDirectory(store, address, (fd) => (areSizesKept ? readDirectoryLimit(location, fd) : null)),
    directory: directoryAccess(store),
    ...(areSizesKept && {
      resize: (address, sizeBytes, options) => resizeDirectory(store, address, sizeBytes, options),
    }),
    ...(quota !== undefined && {
      check: async function* () {
        yield* checkLocation(store);
        yield* checkProjects(store);
      },
    }),
  };
}

function describeLimits(location: Location): Limits {
  const sizeStepBytes = findLimitStep(location);
  const sizeMaxBytes = Number.MAX_SAFE_INTEGER - (Number.MAX_SAFE_INTEGER % sizeStepBytes);
  return { ...TREE_LIMITS, sizeStepBytes, sizeMaxBytes };
}

function directoryForm(location: Location, hasQuota: boolean): Form {
  return {
    backend: "plain",
    description: "a directory",
    matches: (status) => status.isDirectory(),
    holders: (path) => findDirectoryHolders(location, path),
    async remove(steps, path) {
      // First: what is gone does not tell its project any more.
      if (hasQuota && !steps.planning) await unlimitDirectory(steps, location, path);
      await removeTree(steps, path);
    },
  };
}
