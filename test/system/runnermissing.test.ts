import { expect, test } from "bun:test";
import { join } from "node:path";
import { findTool, type Tool } from "../../src/system/runner.ts";
import { describeOnBed, run } from "../support/beds.ts";

const SOURCE = join(import.meta.dir, "../../src/system");

describeOnBed(
  { name: "missing tools", backend: "plain", filesystem: "ext4" },
  () => {
    test.each<[Tool, string, string]>([
      ["xfs_admin", 'mount --bind /dev/null "$0"', "xfsprogs"],
      ["btrfs", 'mount --bind /dev/null "$0"', "btrfs-progs"],
      [
        "blkid",
        'mount -t tmpfs none /mnt; cp "$0" /mnt/x; chmod o+w /mnt/x; mount --bind /mnt/x "$0"',
        "util-linux",
      ],
    ])("%s, hidden by %j, is UNAVAILABLE with the package that brings it", (tool, hide, name) => {
      expect(runHidden(tool, hide)).toMatchObject({
        code: "UNAVAILABLE",
        message: `the program ${tool} is missing: install the package ${name}`,
        details: { tool, package: name },
      });
    });

    test("what is not hidden runs", () => {
      expect(runHidden("find", "true")).toBe("/\n");
    });
  },
  16 * 1024 ** 2,
);

/** What a tool does in a process that has it hidden, in a mount namespace of its own. */
function runHidden(tool: Tool, hide: string): unknown {
  const code = `
    const { runTool } = await import("${SOURCE}/runner.ts");
    const { directSteps } = await import("${SOURCE}/steps.ts");
    const args = ["/", "-maxdepth", "0"];
    const result = await runTool(directSteps, ${JSON.stringify(tool)}, args).catch((thrown) => thrown);
    console.log(JSON.stringify(result));`;
  const script = `set -e; ${hide}; exec "$1" -e "$2"`;
  return JSON.parse(run("unshare", "-m", "sh", "-c", script, findTool(tool), process.execPath, code));
}
