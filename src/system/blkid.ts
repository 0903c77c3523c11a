import { constants, openSync, readSync } from "node:fs";
import { calling, systemError } from "./errno.ts";
import { closeFd, findStatus } from "./files.ts";
import { queryTool } from "./runner.ts";
import type { Steps } from "./steps.ts";

/** What blkid finds in a file or device. */
export interface FilesystemProbe {
  /** Such as "ext4". */
  readonly type: string;
  readonly uuid: string;
}

/** The filesystem in a file or device, read from it and not from a cache; undefined when there is none: blkid(8). */
export async function probeFilesystem(steps: Steps, path: string): Promise<FilesystemProbe | undefined> {
  const nothingFound = 2;
  // blkid says the same of a file that is not there.
  if (!findStatus(path)) throw systemError("open", path, "ENOENT");
  const args = ["--probe", "--usages", "filesystem", "--output", "export", path];
  const { stdout } = await queryTool(steps, "blkid", args, { successCodes: [0, nothingFound] });
  const values = new Map(
    stdout.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const type = values.get("TYPE");
  return type ? { type, uuid: values.get("UUID") ?? "" } : undefined;
}

/** The UUID that lies at a place in a file or device. */
export function readUuid(path: string, offset: number): string {
  const bytes = Buffer.alloc(16);
  const fd = calling("open", path, () => openSync(path, constants.O_RDONLY));
  try {
    calling("read", path, () => readSync(fd, bytes, 0, bytes.length, offset));
  } finally {
    closeFd(fd);
  }
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
