import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { hasErrno } from "./errno.ts";
import { closeFd, listDirectory } from "./files.ts";
import { hasSystemCall, openFilesystem } from "./libc.ts";

/** A part of the kernel that mosaic uses. */
export interface KernelFeature {
  readonly name: string;
  /** The first version of Linux that has it. */
  readonly since: string;
  /** Whether nothing works without it. */
  readonly isRequired: boolean;
  readonly isThere: boolean;
}

const SYSTEM_CALLS = {
  fsopen: "5.2",
  move_mount: "5.2",
  openat2: "5.6",
  mount_setattr: "5.12",
} as const;

/** The running kernel's version. */
export function kernelRelease(): string {
  return release();
}

/** The system calls that every backend needs, and whether this kernel has them. */
export function listSystemCalls(): KernelFeature[] {
  return (Object.keys(SYSTEM_CALLS) as (keyof typeof SYSTEM_CALLS)[]).map((name) => ({
    name,
    since: SYSTEM_CALLS[name],
    isRequired: true,
    isThere: hasSystemCall(name),
  }));
}

/** What loop devices need of the kernel. */
export function listLoopFeatures(): KernelFeature[] {
  return [
    { name: "loop", since: "5.8", isRequired: true, isThere: existsSync("/dev/loop-control") },
    { name: "diskseq", since: "5.15", isRequired: false, isThere: hasDiskseq() },
  ];
}

/** What images that a storage daemon shows need of the kernel. */
export function listExportFeatures(): KernelFeature[] {
  return [
    ...listLoopFeatures(),
    { name: "fuse", since: "2.6.14", isRequired: true, isThere: existsSync("/dev/fuse") },
  ];
}

/** Every block device has it, and of loop devices there may be none yet. */
function hasDiskseq(): boolean {
  return listDirectory("/sys/block").some((name) => existsSync(`/sys/block/${name}/diskseq`));
}

/** Whether this kernel can mount a filesystem of a type; a module for it is loaded. */
export function findFilesystemDriver(type: string): KernelFeature {
  return { name: type, since: "2.6", isRequired: true, isThere: hasFilesystem(type) };
}

function hasFilesystem(type: string): boolean {
  try {
    closeFd(openFilesystem(type));
    return true;
  } catch (thrown) {
    if (hasErrno(thrown, "ENODEV")) return false;
    throw thrown;
  }
}

/** What thin devices need of the kernel; a target that is not loaded yet is asked for. */
export function listThinFeatures(): KernelFeature[] {
  const isThere = existsSync("/sys/module/dm_thin_pool") || hasModule("dm-thin-pool");
  return [{ name: "dm-thin-pool", since: "3.2", isRequired: true, isThere }];
}

/** Whether the module is among those of the running kernel, in it or to be loaded: modules.dep, modules.builtin. */
function hasModule(name: string): boolean {
  return ["modules.dep", "modules.builtin"].some((list) => {
    const path = `/lib/modules/${release()}/${list}`;
    return existsSync(path) && readFileSync(path, "utf8").includes(`/${name}.ko`);
  });
}
