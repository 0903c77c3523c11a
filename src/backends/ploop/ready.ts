import { MosaicError, quote } from "../../base/errors.ts";
import { runTool } from "../../system/runner.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";
import type { Disk } from "./disk.ts";
import { ImageEdit } from "./edit.ts";
import { AT, type Delta, HEADER_BYTES, readAt, readDelta, withImage } from "./header.ts";
import { inspectTable } from "./table.ts";
import { TakeBack } from "./takeback.ts";

const CHECK_DEADLINE_MS = 24 * 3600 * 1000;

/**
 * Looks whether QEMU can open the images of a disk without harm, and closes one that its last writer did not close, as ploop-mount(8)
 * does: when its table is sound. Nobody may have it open. Throws DAMAGED, UNSUPPORTED.
 */
export async function makeReady(steps: Steps, { deltas }: Disk, readOnly: boolean): Promise<void> {
  for (const delta of deltas) requireNoExtension(delta);
  // What is only read can be saved also where the table is not sound.
  if (readOnly) return;
  for (const delta of deltas) requireSound(delta);
  for (const delta of deltas) if (delta.header.isInUse) await closeImage(steps, delta);
}

/** DAMAGED for an image that cannot be written without harm. */
export function requireSound(delta: Delta): void {
  const { fault } = inspectTable(delta);
  if (fault === undefined) return;
  const message = `the table of the image ${quote(delta.path)} is damaged, ${fault}: it is not written any more; save what can be read from a read-only mount, or look at it with ploop check -F`;
  throw new MosaicError("DAMAGED", message, { path: delta.path, fault });
}

/** Takes the mark away that the image is in use, and what lies in the file behind its last block. */
export async function closeImage(steps: Steps, { path }: Delta): Promise<void> {
  const args = ["check", "-q", "-f", "parallels", "-r", "all", path];
  await runTool(steps, "qemu-img", args, {
    successCodes: [0, 3],
    deadlineMs: CHECK_DEADLINE_MS,
    translate: translateWords,
  });
  if (steps.planning || !readDelta(path).header.isInUse) return;
  throw new MosaicError("TOOL_FAILED", `qemu-img did not close the image ${quote(path)}`, { path });
}

/** QEMU reads such an image only with a map that it knows, and makes the map wrong when it writes. */
function requireNoExtension({ path, header }: Delta): void {
  if (header.extensionSectors === 0) return;
  const message = `the image ${quote(path)} has a map of changed blocks for backups, which would become wrong: check --repair takes the map away, and the next backup is a full one`;
  throw new MosaicError("UNSUPPORTED", message, { path, reason: "changed-blocks" });
}

function translateWords(words: string) {
  return /Failed to (get|lock)|another process using the image/.test(words) ? ("BUSY" as const) : undefined;
}

/** Takes the map of changed blocks away, which else would become wrong, and the mark that it has one; its table must be sound. */
export async function dropExtension(steps: Steps, delta: Delta): Promise<void> {
  requireSound(delta);
  const { path } = delta;
  const bytes = withImage(path, (fd) => Buffer.from(readAt(fd, path, AT.inUse, HEADER_BYTES - AT.inUse)));
  bytes.writeUInt32LE(0, 0);
  bytes.writeBigUInt64LE(0n, AT.extension - AT.inUse);
  const edit = new ImageEdit(delta, []);
  edit.parts.push({ at: AT.inUse, bytes });
  await edit.apply(
    steps,
    shellQuote([
      "dd",
      "if=/dev/zero",
      `of=${path}`,
      "bs=1",
      `seek=${AT.extension}`,
      "count=8",
      "conv=notrunc",
    ]),
    new TakeBack(),
  );
  // What was the map is now space that nothing uses.
  await closeImage(steps, delta);
}
