import { constants, fstatSync, openSync } from "node:fs";
import type { Location } from "../location/location.ts";
import { calling } from "../system/errno.ts";
import { measureSharedBytes } from "../system/fiemap.ts";
import { closeFd, fileKeyOf, findStatus, makeSparseFile, shareBlocks, toFileKey } from "../system/files.ts";
import { canShareBlocks } from "../system/reflink.ts";
import { runTool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import type { Images, OpenImage } from "./images.ts";

const COPY_DEADLINE_MS = 24 * 3600 * 1000;

/** Raw images: the file is the content. */
export function rawImages(steps: Steps, location: Location): Images {
  return {
    isRaw: true,
    keyOf: ({ fd }) => fileKeyOf(fd),
    keyAt(record) {
      const status = findStatus(`${location.path}/${record.storedName}`);
      return status && toFileKey(status.dev, status.ino);
    },
    sizeOf: ({ fd, path }) => calling("fstat", path, () => fstatSync(fd)).size,
    measure,
    describe: ({ path }) => ({
      format: "raw",
      chain: [path],
      blockdev: { driver: "raw", file: { driver: "file", filename: path } },
    }),
    node: ({ path }, readOnly) => ({
      driver: "raw",
      "node-name": "image",
      "read-only": readOnly,
      discard: "unmap",
      file: { driver: "file", filename: path, "read-only": readOnly, discard: "unmap" },
    }),
    async open({ fd, path }, readOnly) {
      const flags = readOnly ? constants.O_RDONLY : constants.O_RDWR;
      const opened = calling("open", path, () => openSync(`/proc/self/fd/${fd}`, flags));
      return { path, fd: opened, close: () => closeFd(opened) };
    },
    async copy({ fd: fromFd, path: from }, path, lockFd) {
      if (!canShareBlocks(location.fd, location.filesystemMagic)) {
        const args = ["--reflink=never", "--sparse=always", "--", from, path];
        await runTool(steps, "cp", args, { fds: [lockFd], deadlineMs: COPY_DEADLINE_MS });
        return;
      }
      const fd = await makeSparseFile(steps, path, 0);
      try {
        await shareBlocks(steps, from, fromFd, path, fd);
      } finally {
        if (!steps.planning) closeFd(fd);
      }
    },
    whileOpen: (path, _id, _readOnly, action) => action(path),
  };
}

async function measure({ fd, path }: OpenImage) {
  const sharedBytes = await measureSharedBytes(fd, path);
  const allocatedBytes = calling("fstat", path, () => fstatSync(fd)).blocks * 512;
  return { allocatedBytes, exclusiveBytes: Math.max(0, allocatedBytes - sharedBytes) };
}
