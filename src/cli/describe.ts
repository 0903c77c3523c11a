import type { HostInfo, MosaicInfo, MosaicLimits, VolumeDetails } from "../api/results.ts";
import type { PoolHealth } from "../backends/backend.ts";
import { formatSize } from "../base/size.ts";
import { describeHolder } from "../system/holders.ts";
import { escapeControls } from "./columns.ts";

// What `info` prints: lines of a word, a colon and what is to be said.

/** What a mosaic is and can do. The first line is that of the first mosaic. */
export function formatMosaic(info: MosaicInfo & { host: HostInfo }): string {
  const { space, limits, host } = info;
  return formatLines([
    ["features", info.features.join(" ")],
    ["type", info.type],
    ["location", info.location],
    ["kinds", limits.kinds.join(" ")],
    ["sizes", describeSizes(limits)],
    ...listFilesystems(limits),
    ["names", describeNames(limits)],
    [
      "space",
      `${formatBytes(space.sizeBytes)} ${space.filesystem}, ${formatBytes(space.usedBytes)} used, ${formatBytes(space.availableBytes)} available`,
    ],
    ...(info.pool ? [["pool", describePool(info.pool)] as const] : []),
    ["kernel", describeKernel(host.kernel)],
    ["tools", host.packages.map(describePackage).join(", ") || "none needed"],
  ]);
}

/** All about a volume. */
export function formatDetails(volume: VolumeDetails): string {
  const { inside } = volume;
  return formatLines([
    ["name", volume.name],
    ["kind", volume.kind],
    ["filesystem", volume.filesystem ?? "-"],
    ["parent", volume.parent ?? (volume.parentId === null ? "-" : "(dropped)")],
    ["clones", volume.clones.join(" ") || "-"],
    ["asked", formatBytes(volume.sizeBytes)],
    ["virtual", formatBytes(volume.virtualBytes)],
    ["allocated", formatBytes(volume.allocatedBytes)],
    ["exclusive", formatBytes(volume.exclusiveBytes)],
    ["shared", formatBytes(findShared(volume))],
    ["inside", inside ? `${formatBytes(inside.sizeBytes)}, ${formatBytes(inside.usedBytes)} used` : "-"],
    ["image", volume.image ? `${volume.image.format}: ${volume.image.chain.join(" ")}` : "-"],
    ["attached", volume.attachedAs ?? "-"],
    ["mounted", volume.mountedAt.join(",") || "-"],
    ["holders", volume.holders.map(describeHolder).join("; ") || "-"],
    [
      "labels",
      Object.entries(volume.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(" ") || "-",
    ],
    ["id", volume.id],
    ["created", volume.createdAt],
    ["stored", volume.storedName],
  ]);
}

/** A line without anything to say ends after its colon, as the first mosaic printed it. */
function formatLines(rows: readonly (readonly [string, string])[]): string {
  return rows.map(([label, text]) => `${escapeControls(`${label}: ${text}`).trimEnd()}\n`).join("");
}

/** What other volumes have too. */
function findShared({ allocatedBytes, exclusiveBytes }: VolumeDetails): number | null {
  return exclusiveBytes === null ? null : Math.max(0, allocatedBytes - exclusiveBytes);
}

function formatBytes(bytes: number | null): string {
  return bytes === null ? "-" : `${formatSize(bytes)} (${bytes})`;
}

function describeSizes(limits: MosaicLimits): string {
  if (!limits.sizesAreKept) return "recorded, not kept";
  const need = limits.sizeIsRequired ? "needed" : "kept when given";
  return `${need}, multiples of ${limits.sizeStepBytes}, at most ${formatBytes(limits.sizeMaxBytes)}`;
}

function listFilesystems({ filesystems }: MosaicLimits): [string, string][] {
  const rows = Object.entries(filesystems).map(([name, bytes]) => `${name} from ${formatSize(bytes)}`);
  return rows.length > 0 ? [["filesystems", rows.join(", ")]] : [];
}

function describeNames({ names }: MosaicLimits): string {
  return `at most ${names.maxBytes} bytes, ${names.maxGroups} groups of ${names.groupMaxBytes}, each ${names.groupPattern}`;
}

function describePool(pool: PoolHealth): string {
  if (pool.mode === "inactive") return "inactive";
  const mode = pool.needsCheck ? `${pool.mode}, needs a check` : pool.mode;
  const data = `${formatSize(pool.usedDataBytes)} of ${formatSize(pool.dataBytes)} data`;
  const metadata = `${formatSize(pool.usedMetadataBytes)} of ${formatSize(pool.metadataBytes)} metadata`;
  return `${mode}, ${data}, ${metadata}, transaction ${pool.transaction}`;
}

function describeKernel({ release, features }: HostInfo["kernel"]): string {
  const has = features.filter(({ isThere }) => isThere).map(({ name }) => name);
  const lacks = features
    .filter(({ isThere }) => !isThere)
    .map(({ name, since }) => `${name} (Linux ${since})`);
  return `${release} with ${has.join(" ")}${lacks.length > 0 ? `, without ${lacks.join(" ")}` : ""}`;
}

function describePackage({ name, version, missing }: HostInfo["packages"][number]): string {
  const lack = missing.length > 0 ? ` without ${missing.join(" ")}` : "";
  return `${name} ${version ?? "(missing)"}${lack}`;
}
