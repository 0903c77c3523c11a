import { fstatSync } from "node:fs";
import { basePath, describeChain, type Link, listUnnamedWithout, readChain } from "../../images/bases.ts";
import { closeExport, exportDirectoryOf, openExport } from "../../images/exports.ts";
import { settleExport } from "../../images/holders.ts";
import type { Images, OpenImage } from "../../images/images.ts";
import { readHeader } from "../../images/qcow2.ts";
import { Deferred } from "../../location/deferred.ts";
import { identityOf, type Location } from "../../location/location.ts";
import type { VolumeRecord } from "../../location/record.ts";
import { calling } from "../../system/errno.ts";
import { closeFd, findStatus, makeSparseFile, openPath } from "../../system/files.ts";
import { findLoopDevice, toExportKey } from "../../system/loop.ts";
import { runTool } from "../../system/runner.ts";
import type { Steps } from "../../system/steps.ts";
import { type BlockNode, exportPathOf, startDaemon } from "../../system/storagedaemon.ts";
import { finishSwitch, nodeNameOf } from "./switch.ts";

const COPY_DEADLINE_MS = 24 * 3600 * 1000;

/** The directory of the export of a volume. */
export function exportOf(location: Location, record: Pick<VolumeRecord, "id">): string {
  return exportDirectoryOf(identityOf(location), record.id);
}

/** The node of an image, as the storage daemon has it: its name tells which file it is. */
export function describeImage(location: Location, path: string, fd: number, readOnly: boolean): BlockNode {
  return describeChain(readChain(location, path, fd), readOnly, nodeNameOf(fstatSync(fd).ino));
}

/** Images of qcow2, shown by a storage daemon each. */
export function qcow2Images(steps: Steps, location: Location): Images {
  const keyAt = (record: VolumeRecord) => toExportKey(exportPathOf(exportOf(location, record)));
  return {
    isRaw: false,
    keyOf: ({ record }) => keyAt(record),
    keyAt,
    sizeOf: ({ fd, path }) => readHeader(fd, path).sizeBytes,
    describe({ path, fd }) {
      const chain = readChain(location, path, fd);
      const blockdev = { ...describeChain(chain, false) };
      return { format: "qcow2", chain: chain.map((link) => link.path), blockdev };
    },
    node: ({ path, fd }, readOnly) => describeImage(location, path, fd, readOnly),
    measure: async (volume) => measure(location, volume),
    async open(volume, readOnly) {
      const directory = exportOf(location, volume.record);
      const device = findLoopDevice(keyAt(volume.record));
      const show = () =>
        startDaemon(steps, directory, describeImage(location, volume.path, volume.fd, readOnly));
      const raw = await openExport(steps, directory, show, readOnly);
      try {
        if (device && !device.readOnly) await finishSwitch(steps, location, directory, volume);
        return raw;
      } catch (thrown) {
        raw.close();
        throw thrown;
      }
    },
    release: ({ record }) => closeExport(steps, exportOf(location, record)),
    async copy({ path: from, fd: fromFd }, path, lockFd) {
      // So that it is private from the start.
      const fd = await makeSparseFile(steps, path, 0);
      if (!steps.planning) closeFd(fd);
      const source = `json:${JSON.stringify(describeChain(readChain(location, from, fromFd), true))}`;
      const args = ["convert", "-q", "-O", "qcow2", "-o", "compat=1.1", source, path];
      await runTool(steps, "qemu-img", args, { fds: [lockFd], deadlineMs: COPY_DEADLINE_MS });
    },
    async whileOpen(path, id, readOnly, action) {
      const directory = exportDirectoryOf(identityOf(location), id);
      const show = () => startDaemon(steps, directory, describeStaged(steps, location, path, readOnly));
      const raw = await openExport(steps, directory, show, readOnly);
      await using closing = new Deferred();
      closing.defer(() => settleExport(steps, directory));
      closing.defer(async () => raw.close());
      return await action(raw.path);
    },
  };
}

function describeStaged(steps: Steps, location: Location, path: string, readOnly: boolean): BlockNode {
  // In a plan it is not there.
  if (steps.planning) {
    const file = { driver: "file", filename: path, "read-only": readOnly, discard: "unmap" } as const;
    return {
      driver: "qcow2",
      "node-name": "image",
      "read-only": readOnly,
      discard: "unmap",
      file,
      backing: null,
    };
  }
  const fd = openPath(path);
  try {
    return describeImage(location, path, fd, readOnly);
  } finally {
    closeFd(fd);
  }
}

function measure(location: Location, { path, fd }: OpenImage) {
  const chain = readChain(location, path, fd);
  const own = calling("fstat", path, () => fstatSync(fd)).blocks * 512;
  const freed = new Set(listUnnamedWithout(location, path));
  const allocatedBytes = sum(
    chain.slice(1).map((link) => sizeOnDisk(location, link)),
    own,
  );
  const exclusive = chain.slice(1).filter(({ base }) => base !== null && freed.has(base));
  return {
    allocatedBytes,
    exclusiveBytes: sum(
      exclusive.map((link) => sizeOnDisk(location, link)),
      own,
    ),
  };
}

function sizeOnDisk(location: Location, { base }: Link): number {
  return Number(findStatus(basePath(location, base ?? ""))?.blocks ?? 0) * 512;
}

function sum(numbers: readonly number[], first: number): number {
  return numbers.reduce((total, number) => total + number, first);
}
