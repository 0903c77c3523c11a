import { expect, test } from "bun:test";
import { join } from "node:path";
import { type FilesystemName, filesystemOf } from "../../src/filesystems/registry.ts";
import { findTool, type Tool } from "../../src/system/runner.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

const SOURCE = join(import.meta.dir, "../../src");

describeOnBed({ name: "tools that lie", backend: "loop", filesystem: "ext4" }, testLyingTools);

/** In a mount namespace of its own a process sees true(1) in the place of a tool: exit code 0, and nothing done. */
function testLyingTools(bed: Bed): void {
  const RENEWERS: readonly [FilesystemName, Tool][] = [
    ["ext4", "tune2fs"],
    ["xfs", "xfs_admin"],
    ["btrfs", "btrfstune"],
  ];

  test.each(RENEWERS)("a copy of %s that kept its UUID is DAMAGED, whatever %s says", (name, tool) => {
    const image = join(bed.location, name);
    run("truncate", "-s", String(filesystemOf(name).minimumBytes), image);
    run(`mkfs.${name}`, "-q", image);
    const uuid = run("blkid", "-p", "-s", "UUID", "-o", "value", image).trim();
    const code = `
      const { openSync } = await import("node:fs");
      const { makeDistinct } = await import("${SOURCE}/filesystems/registry.ts");
      const { directSteps } = await import("${SOURCE}/system/steps.ts");
      const lockFd = openSync("${bed.directory}", "r");
      const result = await makeDistinct(directSteps, "${name}", "${image}", lockFd).catch((thrown) => thrown);
      console.log(JSON.stringify(result ?? "it was believed"));`;
    const script = 'set -e; mount --bind /bin/true "$0"; exec "$1" -e "$2"';
    const answer = run("unshare", "-m", "sh", "-c", script, findTool(tool), process.execPath, code);
    expect(JSON.parse(answer)).toMatchObject({
      code: "DAMAGED",
      message: `the copy kept the UUID ${uuid}: check the origin's ${name} filesystem`,
      details: { uuid },
    });
  });
}
