import { existsSync } from "node:fs";
import type { Kind } from "../../location/record.ts";
import { mountDisk } from "../../system/ploopdevice.ts";
import type { Steps } from "../../system/steps.ts";
import { startDaemon, type Window } from "../../system/storagedaemon.ts";
import type { EngineName } from "../backend.ts";
import { DESCRIPTOR_NAME } from "./descriptor.ts";
import { type Disk, readDisk } from "./disk.ts";
import { describeLayers, layFiles } from "./nodes.ts";
import { makeReady, requireSound } from "./ready.ts";

/** A disk that is to be shown, with what a plan shows of one that is not there. */
export interface ShownDisk {
  readonly path: string;
  readonly kind: Kind;
  readonly planned?: { readonly files: readonly string[]; readonly window: Window };
}

/** Who shows the content of a disk as the file of an export. */
export interface Engine {
  /** Makes ready what was not closed, or looks whether it can be. Nobody may have the disk open. Throws DAMAGED, UNSUPPORTED. */
  prepare(steps: Steps, disk: Disk, readOnly: boolean): Promise<void>;
  /** Shows a disk in the directory of an export that this process has locked. Throws BUSY. */
  show(steps: Steps, exportDirectory: string, disk: ShownDisk, readOnly: boolean): Promise<void>;
}

/** A storage daemon for each disk, on any kernel. */
const QEMU: Engine = {
  prepare: makeReady,
  show(steps, exportDirectory, { path, kind, planned }, readOnly) {
    const plan = ({ files, window }: NonNullable<ShownDisk["planned"]>) =>
      layFiles(
        files.map((file) => `${path}/${file}`),
        window,
        readOnly,
      );
    const node = steps.planning && planned ? plan(planned) : describeLayers(readDisk(path), kind, readOnly);
    return startDaemon(steps, exportDirectory, node);
  },
};

/** The kernel of OpenVZ, by ploop(8), which closes what was not closed itself, and keeps maps of changed blocks right. */
const KERNEL: Engine = {
  async prepare(_steps, { deltas }, readOnly) {
    if (!readOnly) for (const delta of deltas) requireSound(delta);
  },
  show(steps, exportDirectory, { path, kind }, readOnly) {
    const part = kind === "fs" ? "partition" : "disk";
    return mountDisk(steps, exportDirectory, `${path}/${DESCRIPTOR_NAME}`, part, readOnly);
  },
};

/** The engine that a config says, or that suits this host: a kernel of OpenVZ has /proc/vz. */
export function engineOf(name: EngineName = "auto"): Engine {
  const isKernel = name === "auto" ? existsSync("/proc/vz") : name === "kernel";
  return isKernel ? KERNEL : QEMU;
}
