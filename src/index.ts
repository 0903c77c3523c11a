/**
 * libmosaic: hybrid storage for virtual machines and containers, as a library.
 *
 * @example
 *   import { openMosaic } from "libmosaic";
 *   await using mosaic = await openMosaic("vm");
 *   await mosaic.createVolume("web", { kind: "fs", sizeBytes: 512 * 1024 ** 2 });
 *   const web = await mosaic.openVolume("web");
 *   await web.mount("/srv/web");
 */

export { Mosaic } from "./api/mosaic.ts";
export { type OpenOptions, openMosaic } from "./api/open.ts";
export type {
  AdoptReport,
  CheckFinding,
  CheckReport,
  Existence,
  Feature,
  HostInfo,
  MosaicInfo,
  MosaicLimits,
  Notify,
  PackageInfo,
  VolumeDetails,
  VolumeInfo,
} from "./api/results.ts";
export { Volume } from "./api/volume.ts";
export type { PoolHealth, Space, VolumeStat } from "./backends/backend.ts";
export { type ErrorCode, type ErrorDetails, MosaicError } from "./base/errors.ts";
export type { StoredName, VolumeName } from "./base/names.ts";
export { formatSize, parseSize } from "./base/size.ts";
export type { FilesystemUse } from "./filesystems/filesystem.ts";
export type { ImageInfo } from "./images/images.ts";
export type { Finding } from "./location/finding.ts";
export type { Kind, VolumeRecord } from "./location/record.ts";
export type { Holder } from "./system/holders.ts";
export type { KernelFeature } from "./system/kernel.ts";
export {
  cancellableSteps,
  directSteps,
  loggedSteps,
  plannedSteps,
  type Step,
  type Steps,
} from "./system/steps.ts";
