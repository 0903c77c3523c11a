import type { OpenImage } from "../../images/images.ts";
import { runTool } from "../../system/runner.ts";
import type { Steps } from "../../system/steps.ts";
import { IMAGE_NAME } from "./descriptor.ts";
import { readDisk, windowOf } from "./disk.ts";
import { makeDisk } from "./make.ts";
import { describeNested } from "./nodes.ts";

const COPY_DEADLINE_MS = 24 * 3600 * 1000;

/** Makes a new disk of one image, in the directory `path`, with what a volume holds now; one that is smaller gets the start of it. */
export async function copyDisk(
  steps: Steps,
  { path: from, record }: Pick<OpenImage, "path" | "record">,
  path: string,
  lockFd: number,
  sizeBytes?: number,
): Promise<void> {
  const disk = readDisk(from);
  const window = windowOf(disk, record.kind);
  const size = sizeBytes ?? window.size;
  await makeDisk(steps, path, record.kind, size);
  const source = { ...describeNested(disk, record.kind, true), size: Math.min(size, window.size) };
  const image = { driver: "parallels", file: { driver: "file", filename: `${path}/${IMAGE_NAME}` } };
  const target = { driver: "raw", offset: record.kind === "fs" ? 1024 ** 2 : 0, size, file: image };
  const names = [source, target].map((node) => `json:${JSON.stringify(node)}`);
  const args = ["convert", "-q", "-n", "--target-is-zero", "--target-image-opts", ...names];
  await runTool(steps, "qemu-img", args, { fds: [lockFd], deadlineMs: COPY_DEADLINE_MS });
}
