import type { ActionName } from "../api/actions.ts";
import type {
  AdoptReport,
  CheckReport,
  Existence,
  HostInfo,
  MosaicInfo,
  VolumeDetails,
  VolumeInfo,
} from "../api/results.ts";
import { formatSize } from "../base/size.ts";
import { alignColumns, escapeControls } from "./columns.ts";
import { formatDetails, formatMosaic } from "./describe.ts";

/** What a person or script reads of an action's result: the lines that the first mosaic printed, or nothing. */
export function formatText(action: ActionName, result: object): string {
  switch (action) {
    case "attach":
      return `Device: ${(result as { device: string }).device}\n`;
    case "info":
      return "features" in result
        ? formatMosaic(result as MosaicInfo & { host: HostInfo })
        : formatDetails(result as VolumeDetails);
    case "check":
      return formatReport(result as CheckReport);
    case "have":
      return `${(result as Existence).name} exists: ${(result as Existence).exists ? "yes" : "no"}\n`;
    case "list":
      return formatVolumes((result as { volumes: VolumeInfo[] }).volumes);
    case "adopt":
      return "failed" in result ? formatAdoptReport(result as AdoptReport) : "";
    default:
      return "";
  }
}

/** What belongs on standard error beside a result that is no error. */
export function formatHint(action: ActionName, result: object): string | undefined {
  if (action !== "have") return undefined;
  const { name, foreign } = result as Existence;
  if (!foreign) return undefined;
  const advice = foreign.adopt ? `; to make it a volume: ${foreign.adopt}` : "";
  return `hint: what lies at the place of ${JSON.stringify(name)} is foreign, ${foreign.why}${advice}`;
}

function formatVolumes(volumes: readonly VolumeInfo[]): string {
  if (volumes.length === 0) return "";
  const rows = volumes.map((volume) => [
    volume.name,
    volume.kind,
    volume.filesystem ?? "-",
    volume.sizeBytes === null ? "-" : formatSize(volume.sizeBytes),
    volume.parent ?? (volume.parentId === null ? "-" : "(dropped)"),
    volume.attachedAs ?? "-",
    volume.mountedAt.join(",") || "-",
  ]);
  return alignColumns([["NAME", "KIND", "FILESYSTEM", "SIZE", "PARENT", "ATTACHED", "MOUNTED"], ...rows]);
}

function formatAdoptReport(report: AdoptReport): string {
  const failed = report.failed.map(({ name, error }) => `failed: ${name}: ${error.message}\n`);
  return `adopted: ${report.adopted.length}, unchanged: ${report.unchanged.length}, failed: ${report.failed.length}\n${failed.join("")}`;
}

/** One line for each finding, with what mends it, and a last one with the numbers. */
function formatReport({ findings, problems }: CheckReport): string {
  const rows = findings.map((finding) => {
    const state = finding.isRepaired ? "repaired" : finding.severity;
    const failure = finding.error ? `; the repair failed: ${finding.error.message}` : "";
    const advice = finding.isRepaired || finding.advice === null ? "" : ` (${finding.advice})`;
    const repair =
      finding.isRepairable && !finding.isRepaired && !finding.error ? " (--repair mends it)" : "";
    return escapeControls(
      `${state}: ${finding.code}: ${finding.subject}: ${finding.message}${failure}${advice}${repair}`,
    );
  });
  const repaired = findings.filter(({ isRepaired }) => isRepaired).length;
  const notes = findings.filter(({ severity }) => severity === "note").length;
  return `${[...rows, `problems: ${problems}, repaired: ${repaired}, notes: ${notes}`].join("\n")}\n`;
}
