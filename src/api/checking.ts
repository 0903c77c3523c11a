import type { Backend } from "../backends/backend.ts";
import { MosaicError } from "../base/errors.ts";
import type { Finding } from "../location/finding.ts";
import { shellQuote } from "../system/steps.ts";
import type { Config } from "./config.ts";
import { checkHost } from "./host.ts";
import type { CheckFinding, CheckReport } from "./results.ts";

/** Looks for what is wrong with a mosaic and its host, and with `repair` mends what can be mended. */
export async function checkMosaic(config: Config, backend: Backend, repair: boolean): Promise<CheckReport> {
  const findings: CheckFinding[] = [];
  for (const finding of checkHost(config)) findings.push(await conclude(config, finding, repair));
  // One at a time: a repair may mend what the next would have been.
  for await (const finding of backend.check()) findings.push(await conclude(config, finding, repair));
  return summarize(findings);
}

/** What is wrong with a mosaic whose location cannot be opened. */
export async function reportClosed(config: Config, error: MosaicError): Promise<CheckReport> {
  const location: Finding = {
    code: "location",
    severity: "problem",
    subject: config.location,
    message: error.message,
  };
  const findings: CheckFinding[] = [];
  for (const finding of [location, ...checkHost(config)])
    findings.push(await conclude(config, finding, false));
  return summarize(findings);
}

function summarize(findings: readonly CheckFinding[]): CheckReport {
  const left = findings.filter(({ severity, isRepaired }) => severity === "problem" && !isRepaired);
  return { problems: left.length, findings };
}

async function conclude(config: Config, finding: Finding, repair: boolean): Promise<CheckFinding> {
  const { advice, adoptable, repair: mend, ...rest } = finding;
  const error = repair && mend ? await tryRepair(mend) : null;
  return {
    ...rest,
    advice: advice ?? adviseAdopt(config, adoptable) ?? null,
    isRepairable: mend !== undefined,
    isRepaired: repair && mend !== undefined && error === null,
    error,
  };
}

async function tryRepair(mend: () => Promise<void>): Promise<MosaicError | null> {
  try {
    await mend();
    return null;
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code === "CANCELLED") throw thrown;
    return thrown;
  }
}

/** The command that makes an object a volume; with a volume map only people know the name that leads to its place. */
function adviseAdopt(config: Config, adoptable: Finding["adoptable"]): string | undefined {
  if (!adoptable) return undefined;
  const { storedName, kind } = adoptable;
  if (!config.volumeMap.isIdentity)
    return `moctl ${config.file} adopt ${kind} NAME, with the NAME that the volume map sends to ${storedName}`;
  return shellQuote(["moctl", config.file, "adopt", kind, storedName]);
}
