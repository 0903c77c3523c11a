import { MosaicError, quote } from "../../base/errors.ts";
import { freeBases, type Link, listUnnamed, readChain } from "../../images/bases.ts";
import { checkImages } from "../../images/check.ts";
import type { ImageStore } from "../../images/images.ts";
import type { Finding } from "../../location/finding.ts";
import { isLockedPath } from "../../location/locks.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { replaceVolume } from "../../location/replace.ts";
import { listVolumes, lockVolume, openVolume } from "../../location/volumes.ts";
import { queryTool, runTool } from "../../system/runner.ts";
import { shellQuote } from "../../system/steps.ts";
import { findDaemon } from "../../system/storagedaemon.ts";
import { exportOf } from "./images.ts";

const CHECK_DEADLINE_MS = 24 * 3600 * 1000;

/** What is wrong with qcow2 images, with the daemons that show them, and with what lies below them. */
export async function* checkQcow2(store: ImageStore, limit: number): AsyncGenerator<Finding> {
  yield* checkImages(store);
  for (const record of listVolumes(store.location, store.form)) yield* checkChain(store, record, limit);
  for (const base of listUnnamed(store.location)) {
    yield {
      code: "unused-base",
      severity: "problem",
      subject: base,
      message: "no image needs it any more; the next command that changes something removes it",
      repair: () => freeBases(store.steps, store.location),
    };
  }
}

async function* checkChain(store: ImageStore, record: VolumeRecord, limit: number): AsyncGenerator<Finding> {
  if (isLockedPath(`${store.location.path}/${record.storedName}`)) return;
  let chain: Link[];
  const volume = openVolume(store, record);
  try {
    chain = readChain(store.location, volume.path, volume.fd);
    // Of one that is written the tables in the file are not the last word.
    const isOpen = findDaemon(exportOf(store.location, record)) !== undefined;
    if (!isOpen && (await store.form.holders(volume.path, volume.fd)).length === 0)
      yield* checkTables(store, record, volume.path);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code === "CANCELLED") throw thrown;
    yield { code: "image", severity: "problem", subject: record.name, message: thrown.message };
    return;
  } finally {
    volume.close();
  }
  if (chain.length <= limit - 1) return;
  yield {
    code: "long-chain",
    severity: "problem",
    subject: record.name,
    message: `it is a chain of ${chain.length} images, and the config allows ${limit}: it cannot be cloned after a write`,
    repair: () => flattenImage(store, record),
  };
}

/** By the checker of the format; it exits with 2 for errors and 3 for clusters that nothing uses: qemu-img(1). */
async function* checkTables(store: ImageStore, record: VolumeRecord, path: string): AsyncGenerator<Finding> {
  const file = { driver: "file", filename: path };
  const image = `json:${JSON.stringify({ driver: "qcow2", backing: null, file })}`;
  const options = { successCodes: [0, 2, 3], deadlineMs: CHECK_DEADLINE_MS };
  const { exitCode } = await queryTool(store.steps, "qemu-img", ["check", "-q", image], options);
  if (exitCode === 0) return;
  const isLeak = exitCode === 3;
  const repair = async () => {
    const volume = await lockVolume(store, record);
    try {
      await runTool(store.steps, "qemu-img", ["check", "-q", "-r", "leaks", image], options);
    } finally {
      volume.close();
    }
  };
  yield {
    code: isLeak ? "leaked-clusters" : "image",
    severity: isLeak ? "note" : "problem",
    subject: record.name,
    message: isLeak
      ? "its image takes space that nothing uses, as after a power cut"
      : `the tables of its image ${quote(path)} contradict each other`,
    ...(isLeak
      ? { repair }
      : { advice: `copy the image, then ${shellQuote(["qemu-img", "check", "-r", "all", path])}` }),
  };
}

/** Makes a volume one image again, of which nothing lies below; what lay there stays for those that need it. */
async function flattenImage(store: ImageStore, record: VolumeRecord): Promise<void> {
  const volume = await lockVolume(store, record);
  try {
    await store.images.release?.(volume);
    await replaceVolume(store, volume, volume.record, ({ volumePath, fd }) =>
      store.images.copy(volume, volumePath, fd),
    );
  } finally {
    volume.close();
  }
}
