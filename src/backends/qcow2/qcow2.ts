import { MosaicError, quote } from "../../base/errors.ts";
import { FILESYSTEM_NAMES, filesystemOf, isFilesystemName } from "../../filesystems/registry.ts";
import { readChain } from "../../images/bases.ts";
import { blockAccess } from "../../images/devices.ts";
import { surveyImages } from "../../images/holders.ts";
import type { ImageStore } from "../../images/images.ts";
import { resizeImage } from "../../images/resize.ts";
import { statImage } from "../../images/stat.ts";
import { adoptVolume, publishVolume } from "../../location/changes.ts";
import { locationMembers } from "../../location/core.ts";
import { type Location, openLocation } from "../../location/location.ts";
import type { Operation } from "../../location/operation.ts";
import type { Kind, VolumeRecord } from "../../location/record.ts";
import { probeFilesystem } from "../../system/blkid.ts";
import { closeFd, openPath } from "../../system/files.ts";
import { directSteps, type Steps } from "../../system/steps.ts";
import type { Backend, BackendContext } from "../backend.ts";
import { checkQcow2 } from "./check.ts";
import { cloneImage } from "./clone.ts";
import { qcow2Form } from "./form.ts";
import { qcow2Images } from "./images.ts";
import { makeImage } from "./overlay.ts";

const SIZE_STEP_BYTES = 4096;
/** What the tables of an image with clusters of 64 KiB reach without being many megabytes. */
const SIZE_MAX_BYTES = 64 * 1024 ** 4;
const CHAIN_MAX = 8;

/** Volumes are qcow2 images; clones share what lies below them. */
export function openQcow2(context: BackendContext): Backend {
  const location = openLocation(context.location, context);
  const images = qcow2Images(context.steps, location);
  const form = qcow2Form(location, (steps, path) => findKind(steps, location, path));
  const store: ImageStore = { ...context, location, form, images };
  const limit = context.chain ?? CHAIN_MAX;
  return {
    ...locationMembers(store),
    limits: {
      kinds: ["fs", "disk"],
      sizeIsRequired: true,
      sizeStepBytes: SIZE_STEP_BYTES,
      sizeMaxBytes: SIZE_MAX_BYTES,
      filesystems: Object.fromEntries(
        FILESYSTEM_NAMES.map((name) => [name, filesystemOf(name).minimumBytes]),
      ),
    },
    create: (record) => publishVolume(store, record, (operation) => createImage(store, record, operation)),
    adopt: (record) => adoptVolume(store, record, (path, fd) => examineImage(store, record, path, fd)),
    survey: () => surveyImages(store),
    stat: (address) => statImage(store, address),
    check: () => checkQcow2(store, limit),
    block: blockAccess(store),
    resize: (address, sizeBytes, options) => resizeImage(store, address, sizeBytes, options),
    clone: (origin, makeRecord) => cloneImage(store, limit, origin, makeRecord),
  };
}

async function createImage(
  { steps, images }: ImageStore,
  record: VolumeRecord,
  operation: Operation,
): Promise<void> {
  await makeImage(steps, operation.volumePath, record.sizeBytes ?? 0, null, operation.fd);
  const { filesystem } = record;
  if (filesystem === null || !isFilesystemName(filesystem)) return;
  await images.whileOpen(operation.volumePath, record.id, false, (rawPath) =>
    filesystemOf(filesystem).make(steps, rawPath, operation.fd),
  );
}

/** The filesystem in an image; undefined where there is none. Throws TOOL_FAILED where blkid finds several, BUSY. */
function findFilesystem(steps: Steps, location: Location, path: string): Promise<string | undefined> {
  // A look is no step: a plan needs what it tells, and the daemon for it is gone then.
  const images = qcow2Images(directSteps, location);
  const probe = async (rawPath: string) => (await probeFilesystem(steps, rawPath))?.type;
  return images.whileOpen(path, crypto.randomUUID(), true, probe);
}

async function findKind(steps: Steps, location: Location, path: string): Promise<Kind | undefined> {
  const fd = openPath(path);
  try {
    readChain(location, path, fd);
    const found = await findFilesystem(steps, location, path);
    return found !== undefined && isFilesystemName(found) ? "fs" : "disk";
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    if (["UNSUPPORTED", "DAMAGED"].includes(thrown.code)) return undefined;
    // Somebody has it open, or the host cannot show it.
    if (["BUSY", "TOOL_FAILED", "UNAVAILABLE"].includes(thrown.code)) return "disk";
    throw thrown;
  } finally {
    closeFd(fd);
  }
}

async function examineImage(
  { steps, location }: ImageStore,
  record: VolumeRecord,
  path: string,
  fd: number,
): Promise<VolumeRecord> {
  const [top] = readChain(location, path, fd);
  const sizeBytes = top?.header.sizeBytes ?? 0;
  if (record.kind === "disk") return { ...record, sizeBytes };
  const found = await findFilesystem(steps, location, path);
  if (found !== undefined && isFilesystemName(found) && (record.filesystem ?? found) === found)
    return { ...record, sizeBytes, filesystem: found };
  const expected = record.filesystem ?? FILESYSTEM_NAMES.join(", ");
  const message = `${quote(path)} holds ${found ?? "no filesystem"}, expected ${expected}: adopt it as a disk if it is one`;
  throw new MosaicError("UNSUPPORTED", message, { found: found ?? null, expected });
}
