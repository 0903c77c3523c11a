import { BACKENDS, type BackendName, type BackendRow } from "../backends/registry.ts";
import { MosaicError } from "../base/errors.ts";
import { type FilesystemName, filesystemOf } from "../filesystems/registry.ts";
import type { Finding } from "../location/finding.ts";
import {
  findFilesystemDriver,
  type KernelFeature,
  kernelRelease,
  listSystemCalls,
} from "../system/kernel.ts";
import { findTool, type PackageName, packageOf, queryVersion, type Tool } from "../system/runner.ts";
import type { Steps } from "../system/steps.ts";
import type { HostInfo, PackageInfo } from "./results.ts";

/** What a mosaic needs of its host: the parts of a config that decide it. */
export interface Needs {
  readonly backend: BackendName;
  readonly defaultFilesystem: FilesystemName | undefined;
}

/** The kernel and the tools that a mosaic uses, with their versions. */
export async function describeHost(steps: Steps, needs: Needs): Promise<HostInfo> {
  const packages = Map.groupBy(listTools(needs), packageOf);
  return {
    kernel: { release: kernelRelease(), features: listKernelFeatures(needs) },
    packages: await Promise.all([...packages].map(([name, tools]) => describePackage(steps, name, tools))),
  };
}

/** What of the kernel and the tools is missing for a mosaic. */
export function* checkHost(needs: Needs): Generator<Finding> {
  for (const { name, since, isRequired, isThere } of listKernelFeatures(needs)) {
    if (isThere) continue;
    yield {
      code: "kernel-feature-missing",
      severity: isRequired ? "problem" : "note",
      subject: name,
      message: `this kernel, ${kernelRelease()}, lacks it; Linux ${since} and later can have it`,
    };
  }
  for (const tool of listTools(needs).filter((tool) => !isInstalled(tool))) {
    const advice = `apt-get install ${packageOf(tool)}`;
    yield {
      code: "tool-missing",
      severity: "problem",
      subject: tool,
      message: "the program is missing",
      advice,
    };
  }
}

function listTools({ backend, defaultFilesystem }: Needs): Tool[] {
  const inside = defaultFilesystem ? filesystemOf(defaultFilesystem).tools : [];
  return [...new Set([...BACKENDS[backend].tools, ...inside])].sort();
}

function listKernelFeatures({ backend, defaultFilesystem }: Needs): KernelFeature[] {
  const row: BackendRow = BACKENDS[backend];
  const inside = defaultFilesystem ? [findFilesystemDriver(defaultFilesystem)] : [];
  return [...listSystemCalls(), ...(row.kernelFeatures?.() ?? []), ...inside];
}

async function describePackage(
  steps: Steps,
  name: PackageName,
  tools: readonly Tool[],
): Promise<PackageInfo> {
  const missing = tools.filter((tool) => !isInstalled(tool));
  return { name, version: await findVersion(steps, name), tools, missing };
}

async function findVersion(steps: Steps, name: PackageName): Promise<string | null> {
  try {
    return await queryVersion(steps, name);
  } catch (thrown) {
    if (thrown instanceof MosaicError && thrown.code === "UNAVAILABLE") return null;
    throw thrown;
  }
}

function isInstalled(tool: Tool): boolean {
  try {
    findTool(tool);
    return true;
  } catch {
    return false;
  }
}
