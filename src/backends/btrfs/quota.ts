import { MosaicError, quote } from "../../base/errors.ts";
import type { Finding } from "../../location/finding.ts";
import type { Location } from "../../location/location.ts";
import { rewriteRecord } from "../../location/rewrite.ts";
import { requireAllowed } from "../../location/sizes.ts";
import type { Store } from "../../location/store.ts";
import { listVolumes, lockVolume, openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { closeFd, openDirectory } from "../../system/files.ts";
import {
  limitSubvolume,
  type QuotaMode,
  readQgroup,
  readQgroupNow,
  readQuotaState,
} from "../../system/qgroups.ts";
import { type Steps, shellQuote } from "../../system/steps.ts";
import type { ResizeOptions } from "../backend.ts";

// The sizes of subvolumes, kept by btrfs quotas where the config asks for it. Quotas are a matter of the whole filesystem:
// they are never switched on from here.

/** A full subvolume has no room for its own record and properties, so its limit is this much larger while they change. */
const ROOM_BYTES = 16 * 1024 ** 2;

/** Why the quotas that the config wants do not work; undefined when they do. */
export function findQuotaObstacle(location: Location, wanted: QuotaMode): MosaicError | undefined {
  const { mode } = readQuotaState(location.fd);
  if (mode === wanted) return undefined;
  const enable = enableCommand(location, wanted);
  const [state, command] = mode
    ? [`are in the mode ${mode}`, `${shellQuote(["btrfs", "quota", "disable", location.path])} && ${enable}`]
    : ["are off", enable];
  const message = `the config says quota: ${wanted}, but the quotas of ${quote(location.path)} ${state}: ${command}`;
  return new MosaicError("UNAVAILABLE", message, { reason: "quota", wanted, found: mode ?? null, command });
}

function enableCommand({ path }: Location, mode: QuotaMode): string {
  return shellQuote(["btrfs", "quota", "enable", ...(mode === "simple" ? ["--simple"] : []), path]);
}

/** Takes away the limit that a new subvolume may have: a snapshot that of its origin, before Linux 6.10 any that of a dropped one with its number. */
export async function clearLimit(steps: Steps, path: string, lockFd: number): Promise<void> {
  if (steps.planning) return;
  const fd = openDirectory(path);
  try {
    const hasLimit = (readQgroup(fd)?.limitBytes ?? null) !== null;
    if (hasLimit) await limitSubvolume(steps, path, null, lockFd);
  } finally {
    closeFd(fd);
  }
}

/** Makes room for a change of a subvolume's properties where it is full; gives what takes that back. */
export async function makeRoom(steps: Steps, path: string): Promise<() => Promise<void>> {
  const fd = openDirectory(path);
  try {
    const { limitBytes = null, referencedBytes = 0 } = readQgroupNow(fd) ?? {};
    if (limitBytes === null || limitBytes >= referencedBytes + ROOM_BYTES) return async () => {};
    await limitSubvolume(steps, path, referencedBytes + ROOM_BYTES);
    return () => limitSubvolume(steps, path, limitBytes);
  } finally {
    closeFd(fd);
  }
}

/** Gives a subvolume another limit, also while it is mounted. */
export async function resizeSubvolume(
  store: Store,
  address: VolumeAddress,
  sizeBytes: number,
  { shrink }: ResizeOptions,
) {
  const volume = await lockVolume(store, address);
  try {
    const { limitBytes = null, referencedBytes = 0 } = readQgroupNow(volume.fd) ?? {};
    requireAllowed(address.name, sizeBytes, limitBytes, referencedBytes, shrink);
    const record = { ...volume.record, sizeBytes };
    const roomyBytes = Math.max(sizeBytes, referencedBytes + ROOM_BYTES);
    const limit = (bytes: number | null) => limitSubvolume(store.steps, volume.path, bytes, volume.fd);
    await rewriteRecord(store, volume, record, {
      apply: () => limit(roomyBytes),
      ...(roomyBytes !== sizeBytes && { finish: () => limit(sizeBytes) }),
      undo: () => limit(limitBytes),
    });
    return record;
  } finally {
    volume.close();
  }
}

/** What is wrong with the quotas of a location and with the limits of its volumes. */
export function* checkQuota(store: Store, wanted: QuotaMode): Generator<Finding> {
  const { location, form } = store;
  const obstacle = findQuotaObstacle(location, wanted);
  if (obstacle) {
    const advice = String(obstacle.details.command);
    const message = obstacle.message.slice(0, obstacle.message.length - advice.length - 2);
    yield { code: "quota-off", severity: "problem", subject: location.path, message, advice };
    return;
  }
  if (readQuotaState(location.fd).isInconsistent) {
    yield {
      code: "quota-inconsistent",
      severity: "problem",
      subject: location.path,
      message: "the numbers of its quotas are wrong, and limits are not kept, until they are counted again",
      advice: shellQuote(["btrfs", "quota", "rescan", "-w", location.path]),
    };
  }
  for (const record of listVolumes(location, form)) {
    const volume = openVolume(store, record);
    try {
      const limitBytes = readQgroup(volume.fd)?.limitBytes ?? null;
      if (limitBytes === record.sizeBytes) continue;
      yield {
        code: "quota-differs",
        severity: "problem",
        subject: record.name,
        message: `its record says ${record.sizeBytes ?? "no"} bytes, its limit is ${limitBytes ?? "none"}`,
        repair: () => limitSubvolume(store.steps, volume.path, record.sizeBytes, location.fd),
      };
    } finally {
      volume.close();
    }
  }
}
