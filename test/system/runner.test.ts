import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { findTool, queryTool, type RunOptions, runTool, startTool } from "../../src/system/runner.ts";
import { directSteps, loggedSteps, plannedSteps } from "../../src/system/steps.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";

// find(1) is the one tool among those allowed that runs others, so it shows what a child gets and does.

let directory = "";
beforeAll(() => {
  directory = makeTestDirectory("runner");
});
afterAll(() => removeTestDirectory(directory));

const running = (...argv: string[]) => ["/", "-maxdepth", "0", "-exec", ...argv, ";"];
const show = async (argv: readonly string[], options: RunOptions = {}) =>
  (await queryTool(directSteps, "find", running(...argv), options)).stdout;

/** The process group and session in the stat file of a process: proc_pid_stat(5). */
const sessionOf = (stat: string) =>
  stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(2, 4)
    .join();

describe("a tool gets", () => {
  test("exactly the fixed environment", async () => {
    process.env.MKE2FS_CONFIG = "/evil.conf";
    try {
      // Where no udev runs, libdevmapper is told so.
      const withoutUdev = existsSync("/run/udev/control") ? [] : ["DM_DISABLE_UDEV=1"];
      expect((await show(["env"])).trim().split("\n").sort()).toEqual([
        "DM_DEFAULT_NAME_MANGLING_MODE=none",
        ...withoutUdev,
        "LANG=C",
        "LC_ALL=C",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "TZ=UTC",
      ]);
    } finally {
      delete process.env.MKE2FS_CONFIG;
    }
  });

  test("the root directory, an empty input and no descriptor of ours", async () => {
    expect(await show(["pwd"])).toBe("/\n");
    expect(await show(["cat"])).toBe("");
    expect(await show(["readlink", "/proc/self/fd/0"])).toBe("/dev/null\n");
    expect((await show(["ls", "/proc/self/fd"])).trim().split("\n")).toEqual(["0", "1", "2", "3"]);
  });

  test("a session of its own", async () => {
    const stats = (await show(["sh", "-c", "cat /proc/$$/stat /proc/$PPID/stat"])).trim().split("\n");
    const [child, tool] = stats.map(sessionOf);
    expect(child).toBe(tool as string);
    expect(child).not.toBe(sessionOf(readFileSync("/proc/self/stat", "utf8")));
  });

  test("its arguments as they are, without a shell", async () => {
    const words = ["$(id)", "a b", "*", "", "'", "\n", "é"];
    expect(await show(["printf", "<%s>", ...words])).toBe(words.map((word) => `<${word}>`).join(""));
  });

  test("the descriptors that were meant for it, from 3 on", async () => {
    const fds = ["/etc", "/usr"].map((path) => openSync(path, "r"));
    try {
      expect(await show(["readlink", "/proc/self/fd/3", "/proc/self/fd/4"], { fds })).toBe("/etc\n/usr\n");
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  });
});

describe("a tool that fails", () => {
  const none = () => join(directory, "none");

  test("is TOOL_FAILED with its argv, exit code and own words", async () => {
    await expect(runTool(directSteps, "find", [none()])).rejects.toMatchObject({
      code: "TOOL_FAILED",
      message: `find failed with exit code 1: /usr/bin/find: '${none()}': No such file or directory`,
      details: {
        argv: ["find", none()],
        pid: expect.any(Number),
        exitCode: 1,
        signal: null,
        stderr: `/usr/bin/find: '${none()}': No such file or directory`,
      },
    });
  });

  test("is none when its exit code means success", async () => {
    expect((await queryTool(directSteps, "find", [none()], { successCodes: [0, 1] })).exitCode).toBe(1);
    await expect(
      queryTool(directSteps, "find", ["/", "-maxdepth", "0"], { successCodes: [1] }),
    ).rejects.toThrow("find failed with exit code 0");
  });

  test.each([
    ["mkfs.x: No space left on device", "NO_SPACE"],
    ["x: Disk quota exceeded", "NO_SPACE"],
    ["x: Permission denied", "PERMISSION_DENIED"],
    ["x: Operation not permitted", "PERMISSION_DENIED"],
    ["x: something else", "TOOL_FAILED"],
  ])("with the words %j is %s", async (words, code) => {
    const args = ["/", "-maxdepth", "0", "-exec", "sh", "-c", 'echo "$0" >&2; exit 1', words, "{}", "+"];
    await expect(runTool(directSteps, "find", args)).rejects.toMatchObject({
      code,
      details: { stderr: words },
    });
  });

  test("is what its caller makes of its words", async () => {
    const translate = (words: string) => (words.includes("No such file") ? "NOT_FOUND" : undefined);
    await expect(runTool(directSteps, "find", [none()], { translate })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });

  test("by a signal says by which", async () => {
    await expect(runTool(directSteps, "find", running("sh", "-c", "kill -KILL $PPID"))).rejects.toMatchObject(
      {
        code: "TOOL_FAILED",
        message: "find was ended by SIGKILL",
        details: { exitCode: null, signal: "SIGKILL" },
      },
    );
  });

  test("keeps only the last of many words", async () => {
    const args = ["/", "-maxdepth", "0", "-exec", "sh", "-c", "seq 100000 >&2; exit 1", "{}", "+"];
    await expect(runTool(directSteps, "find", args)).rejects.toMatchObject({
      details: { stderr: "99996; 99997; 99998; 99999; 100000" },
    });
  });
});

test("output is kept to its limit, and the tool still ends", async () => {
  const length = (await show(["head", "-c", "50000000", "/dev/zero"])).length;
  expect(length).toBeGreaterThanOrEqual(16 * 1024 ** 2);
  expect(length).toBeLessThan(17 * 1024 ** 2);
});

test("a query is a step that reads, a change is not, and a plan runs only the first", async () => {
  const log: string[] = [];
  const plan = loggedSteps(
    plannedSteps((text) => log.push(`planned ${text}`)),
    (text) => log.push(text),
  );
  const touch = running("touch", join(directory, "touched"));
  expect((await queryTool(plan, "find", ["/", "-maxdepth", "0"])).stdout).toBe("/\n");
  expect(await runTool(plan, "find", touch)).toBe("");
  await (await startTool(plan, "find", touch, [])).end();
  const change = `find / -maxdepth 0 -exec touch ${join(directory, "touched")} ';'`;
  expect(log).toEqual([
    "find / -maxdepth 0",
    `planned ${change}`,
    change,
    `planned ${change} &`,
    `${change} &`,
  ]);
  expect(existsSync(join(directory, "touched"))).toBe(false);
});

test("a tool is known by its absolute path", () => {
  expect(findTool("find")).toBe("/usr/bin/find");
});
