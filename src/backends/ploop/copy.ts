import type { VolumeRecord } from "../../location/record.ts";
import { copyAttributes } from "../../system/attributes.ts";
import { syncPath } from "../../system/files.ts";
import { runTool } from "../../system/runner.ts";
import type { Steps } from "../../system/steps.ts";
import { IMAGE_NAME } from "./descriptor.ts";
import { readDisk, windowOf } from "./disk.ts";
import { PARTITION_START } from "./gpt.ts";
import { SECTOR } from "./header.ts";
import { makeDisk } from "./make.ts";
import { describeNested } from "./nodes.ts";

const COPY_DEADLINE_MS = 24 * 3600 * 1000;

/** Makes a new disk of one image, in the directory `path`, with what a volume holds now; one that is smaller gets the start of it. */
export async function copyDisk(
  steps: Steps,
  { path: from, record }: { readonly path: string; readonly record: Pick<VolumeRecord, "kind"> },
  path: string,
  lockFd: number,
  sizeBytes?: number,
): Promise<void> {
  const disk = readDisk(from);
  const window = windowOf(disk, record.kind);
  const size = sizeBytes ?? window.size;
  await makeDisk(steps, path, record.kind, size);
  const source = { ...describeNested(disk, record.kind, true), size: Math.min(size, window.size) };
  const offset = record.kind === "fs" ? PARTITION_START * SECTOR : 0;
  const image = `${path}/${IMAGE_NAME}`;
  const file = `file.driver=parallels,file.file.driver=file,file.file.filename=${image.replaceAll(",", ",,")}`;
  const target = [
    "--target-image-opts",
    `json:${JSON.stringify(source)}`,
    `driver=raw,offset=${offset},size=${size},${file}`,
  ];
  const args = ["convert", "-q", "-n", "--target-is-zero", ...target];
  await runTool(steps, "qemu-img", args, { fds: [lockFd], deadlineMs: COPY_DEADLINE_MS });
  await copyAttributes(steps, disk.deltas[0].path, image, lockFd);
  await syncPath(steps, image);
}
