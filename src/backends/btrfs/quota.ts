import { MosaicError, quote } from "../../base/errors.ts";
import type { Finding } from "../../location/finding.ts";
import type { Location } from "../../location/location.ts";
import { rewriteRecord } from "../../location/rewrite.ts";
import { requireAllowed } from "../../location/sizes.ts";
import type { Store } from "../../location/store.ts";
import { listVolumes, lockVolume, openVolume, type VolumeAddress } from "../../location/volumes.ts";
import { limitSubvolume, type QuotaMode, readQgroup, readQuotaState } from "../../system/qgroups.ts";
import { shellQuote } from "../../system/steps.ts";
import type { ResizeOptions } from "../backend.ts";

// The sizes of subvolumes, kept by btrfs quotas where the config asks for it. Quotas are a matter of the whole filesystem:
// they are never switched on from here.

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

/** Gives a subvolume another limit, also while it is mounted. */
export async function resizeSubvolume(
  store: Store,
  address: VolumeAddress,
  sizeBytes: number,
  { shrink }: ResizeOptions,
) {
  const volume = await lockVolume(store, address);
  try {
    const group = readQgroup(volume.fd);
    const limitBytes = group?.limitBytes ?? null;
    requireAllowed(address.name, sizeBytes, limitBytes, group?.referencedBytes ?? 0, shrink);
    const record = { ...volume.record, sizeBytes };
    await rewriteRecord(store, volume, record, {
      apply: () => limitSubvolume(store.steps, volume.path, sizeBytes, volume.fd),
      undo: () => limitSubvolume(store.steps, volume.path, limitBytes, volume.fd),
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
