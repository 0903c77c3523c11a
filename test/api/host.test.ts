import { expect, test } from "bun:test";
import { basename } from "node:path";
import { checkHost, describeHost, type Needs } from "../../src/api/host.ts";
import { findTool, type Tool } from "../../src/system/runner.ts";
import { directSteps } from "../../src/system/steps.ts";
import { describeOnBed, run } from "../support/beds.ts";

const NEEDS: readonly Needs[] = [
  { backend: "plain", defaultFilesystem: undefined },
  { backend: "btrfs", defaultFilesystem: undefined },
  { backend: "loop", defaultFilesystem: "ext4" },
  { backend: "loop", defaultFilesystem: "xfs" },
  { backend: "loop", defaultFilesystem: "btrfs" },
];

describeOnBed(
  { name: "what of the host is used", backend: "plain", filesystem: "ext4" },
  () => {
    for (const needs of NEEDS) {
      const name = [needs.backend, needs.defaultFilesystem].filter(Boolean).join(" with ");
      test(`${name}: kernel and packages have the versions that uname and dpkg tell`, () =>
        compareVersions(needs));
      test(`${name}: nothing is missing here`, () => expect([...checkHost(needs)]).toEqual([]));
    }
    test("each tool comes from the package that is named for it", () => compareOwners());
  },
  16 * 1024 ** 2,
);

async function compareVersions(needs: Needs): Promise<void> {
  const { kernel, packages } = await describeHost(directSteps, needs);
  expect(kernel.release).toBe(run("uname", "-r").trim());
  expect(kernel.features.filter(({ isThere }) => !isThere)).toEqual([]);
  expect(packages.length).toBeGreaterThan(0);
  for (const { name, version, missing } of packages)
    expect({ name, version, missing }).toEqual({ name, version: readPackageVersion(name), missing: [] });
}

async function compareOwners(): Promise<void> {
  const hosts = await Promise.all(NEEDS.map((needs) => describeHost(directSteps, needs)));
  const owners = new Map(
    hosts.flatMap(({ packages }) =>
      packages.flatMap(({ name, tools }) => tools.map((tool) => [tool as Tool, name as string] as const)),
    ),
  );
  expect(owners.size).toBeGreaterThan(12);
  expect(findOwners([...owners.keys()].map((tool) => findTool(tool)))).toEqual(owners);
}

/** The version of the package without what Debian adds to it. */
function readPackageVersion(name: string): string {
  const text = run("dpkg-query", "-W", name).split("\t")[1] ?? "";
  return text
    .trim()
    .replace(/^\d+:/, "")
    .replace(/-[^-]*$/, "");
}

/** The packages that bring programs, which dpkg may know by their paths of the time when /bin was no link. */
function findOwners(paths: readonly string[]): Map<Tool, string> {
  const known = paths.flatMap((path) => [path, path.replace(/^\/usr/, "")]);
  const { stdout } = Bun.spawnSync(["dpkg-query", "-S", ...known], { stderr: "ignore" });
  const lines = stdout.toString().trimEnd().split("\n");
  return new Map(lines.map((line) => [basename(line) as Tool, line.slice(0, line.indexOf(":"))] as const));
}
