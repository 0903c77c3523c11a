import { constants, openSync } from "node:fs";
import { MosaicError, quote } from "../../base/errors.ts";
import { checkImages } from "../../images/check.ts";
import type { ImageStore } from "../../images/images.ts";
import { exportOf } from "../../images/servers.ts";
import { requireUnheld } from "../../location/changes.ts";
import type { Finding } from "../../location/finding.ts";
import { isLockedPath } from "../../location/locks.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { type LockedVolume, listVolumes, lockVolume, openVolume } from "../../location/volumes.ts";
import { replaceFile } from "../../system/durablefile.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, listDirectory, setFileSize } from "../../system/files.ts";
import { queryTool, runTool } from "../../system/runner.ts";
import { shellQuote } from "../../system/steps.ts";
import { findDaemon } from "../../system/storagedaemon.ts";
import { DESCRIPTOR_NAME, IMAGE_NAME } from "./descriptor.ts";
import { formatResized } from "./descriptortext.ts";
import { type Disk, readDisk } from "./disk.ts";
import { type Delta, readDelta } from "./header.ts";
import { closeImage, dropExtension } from "./ready.ts";
import { inspectTable, type TableState } from "./table.ts";

const CHECK_DEADLINE_MS = 24 * 3600 * 1000;

/** What is wrong with disks of ploop and with the daemons that show them. */
export async function* checkPloop(store: ImageStore): AsyncGenerator<Finding> {
  yield* checkImages(store);
  for (const record of listVolumes(store.location, store.form)) yield* checkDisk(store, record);
}

/** Of a disk that is used the files are not the last word. */
async function* checkDisk(store: ImageStore, record: VolumeRecord): AsyncGenerator<Finding> {
  if (isLockedPath(`${store.location.path}/${record.storedName}`)) return;
  const volume = openVolume(store, record);
  try {
    if ((await store.form.holders(volume.path, volume.fd)).length > 0) return;
    // One that only waits to be ended has it open too.
    if (findDaemon(exportOf(store, record.id)) !== undefined) return;
    const disk = readDisk(volume.path);
    yield* checkSizes(store, record, disk);
    yield* checkUnnamed(record, disk);
    for (const delta of disk.deltas) yield* checkDelta(store, record, delta);
  } catch (thrown) {
    // What cannot be read is said already, by its size.
    if (!(thrown instanceof MosaicError) || !["DAMAGED", "UNSUPPORTED"].includes(thrown.code)) throw thrown;
  } finally {
    volume.close();
  }
}

/** The tool believes the descriptor, and QEMU the image. */
function* checkSizes(store: ImageStore, record: VolumeRecord, disk: Disk): Generator<Finding> {
  const { descriptor, sizeSectors, directory } = disk;
  if (descriptor.sizeSectors === sizeSectors) return;
  const path = `${directory}/${DESCRIPTOR_NAME}`;
  yield {
    code: "descriptor",
    severity: "problem",
    subject: record.name,
    message: `${quote(path)} says ${descriptor.sizeSectors} sectors, its image has ${sizeSectors}: a resize was cut off`,
    repair: () =>
      whileIdle(store, record, () =>
        replaceFile(store.steps, path, formatResized(descriptor.root, sizeSectors)),
      ),
  };
}

/** Such as what a growth in use leaves that was killed before the descriptor named the new image. */
function* checkUnnamed(record: VolumeRecord, { directory, descriptor }: Disk): Generator<Finding> {
  const named = new Set([...descriptor.chain, ...descriptor.others].map(({ file }) => file));
  for (const file of listDirectory(directory)) {
    if (!file.startsWith(`${IMAGE_NAME}.`) || named.has(file)) continue;
    const path = `${directory}/${file}`;
    const message = `${quote(path)} is not named in ${DESCRIPTOR_NAME}: a growth that was cut off, or ploop, left it there`;
    const advice = `remove it when it is not needed: ${shellQuote(["rm", path])}`;
    yield { code: "unnamed-image", severity: "note", subject: record.name, message, advice };
  }
}

async function* checkDelta(store: ImageStore, record: VolumeRecord, delta: Delta): AsyncGenerator<Finding> {
  const { path, header } = delta;
  const { steps } = store;
  const rest = { subject: record.name, severity: "problem" } as const;
  const state = inspectTable(delta);
  if (state.fault !== undefined) {
    const message = `the table of its image ${quote(path)} is damaged: ${state.fault}`;
    const advice = "save what can be read from a read-only mount, or look at it with ploop check -F";
    yield { code: "image", ...rest, message, advice };
    return;
  }
  if (state.missingBytes > 0) yield describeShort(store, record, delta, state);
  if (header.extensionSectors !== 0) {
    const message = `its image ${quote(path)} has a map of changed blocks for backups, which nobody keeps right here: it is not used until a repair takes the map away, and the next backup is a full one`;
    const repair = () => whileIdle(store, record, () => dropExtension(steps, readDelta(path)));
    yield { code: "changed-blocks", ...rest, message, repair };
  } else if (header.isInUse) {
    const message = `its image ${quote(path)} was not closed by who wrote it last, as after a power cut: the next use closes it`;
    const repair = () => whileIdle(store, record, () => closeImage(steps, delta));
    yield { code: "not-closed", ...rest, severity: "note", message, repair };
  } else yield* checkByTool(store, record, delta);
}

function describeShort(
  store: ImageStore,
  record: VolumeRecord,
  { path }: Delta,
  { missingBytes, endBytes }: TableState,
): Finding {
  const lengthen = async () => {
    const fd = calling("open", path, () => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
    try {
      await setFileSize(store.steps, path, fd, endBytes);
    } finally {
      closeFd(fd);
    }
  };
  return {
    code: "short-image",
    severity: "problem",
    subject: record.name,
    message: `its image ${quote(path)} lacks the last ${missingBytes} bytes of its last block, which read as zeros: somebody cut it`,
    repair: () => whileIdle(store, record, lengthen),
  };
}

/** By the checker of the format; it exits with 2 for errors and 3 for space that nothing uses: qemu-img(1). */
async function* checkByTool(
  store: ImageStore,
  record: VolumeRecord,
  { path }: Delta,
): AsyncGenerator<Finding> {
  const options = { successCodes: [0, 2, 3], deadlineMs: CHECK_DEADLINE_MS };
  const check = ["check", "-q", "-f", "parallels"];
  const { exitCode } = await queryTool(store.steps, "qemu-img", [...check, path], options);
  if (exitCode === 0) return;
  const cut = async () =>
    void (await runTool(store.steps, "qemu-img", [...check, "-r", "leaks", path], options));
  const what = quote(path);
  if (exitCode === 3) {
    const message = `its image ${what} takes space that nothing uses, as after a power cut`;
    const repair = () => whileIdle(store, record, cut);
    yield { code: "leaked-clusters", severity: "note", subject: record.name, message, repair };
    return;
  }
  const message = `qemu-img finds errors in its image ${what}`;
  const advice = "save what can be read from a read-only mount, then look at it with ploop check -F";
  yield { code: "image", severity: "problem", subject: record.name, message, advice };
}

async function whileIdle(
  store: ImageStore,
  record: VolumeRecord,
  action: (volume: LockedVolume) => Promise<void>,
): Promise<void> {
  const volume = await lockVolume(store, record);
  try {
    requireUnheld(record, await store.form.holders(volume.path, volume.fd));
    await store.images.release?.(volume);
    await action(volume);
  } finally {
    volume.close();
  }
}
