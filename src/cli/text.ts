import type { ActionName } from "../api/actions.ts";
import type { AdoptReport, Existence, MosaicInfo, VolumeInfo } from "../api/results.ts";
import { formatSize } from "../base/size.ts";

/** What a person or script reads of an action's result: the lines that the first mosaic printed, or nothing. */
export function formatText(action: ActionName, result: object): string {
  switch (action) {
    case "attach":
      return `Device: ${(result as { device: string }).device}\n`;
    case "info":
      return `features:${(result as MosaicInfo).features.map((feature) => ` ${feature}`).join("")}\n`;
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

function alignColumns(table: readonly (readonly string[])[]): string {
  // A mount point may have any character: none of them may forge a line or reach the terminal.
  const rows = table.map((row) => row.map((cell) => cell.replaceAll(/\p{C}/gu, escapeCharacter)));
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

function escapeCharacter(character: string): string {
  return [...Buffer.from(character)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}
