import { describe, expect, test } from "bun:test";
import {
  cancellableSteps,
  directSteps,
  loggedSteps,
  plannedSteps,
  type Step,
  type Steps,
  shellQuote,
} from "../../src/system/steps.ts";

const READ: Step = { text: "look", kind: "command", reads: true };
const CHANGE: Step = { text: "change", kind: "call" };
const fail = () => {
  throw new Error("it failed");
};

test("direct steps are taken, and their failures pass", async () => {
  expect(directSteps.planning).toBe(false);
  expect(await directSteps.take(CHANGE, () => 1, 2)).toBe(1);
  expect(await directSteps.take(CHANGE, async () => 1, 2)).toBe(1);
  await expect(directSteps.take(CHANGE, fail, 2)).rejects.toThrow("it failed");
});

test("planned steps take only what reads, and answer for the rest", async () => {
  const log: string[] = [];
  const steps = plannedSteps((text) => log.push(text));
  expect(steps.planning).toBe(true);
  expect(await steps.take(READ, () => "real", "planned")).toBe("real");
  expect(log).toEqual([]);
  expect(await steps.take(CHANGE, fail, "planned")).toBe("planned");
  expect(await steps.take({ ...CHANGE, reads: false, text: "another" }, fail, "planned")).toBe("planned");
  expect(log).toEqual(["change", "another"]);
});

describe("logged steps", () => {
  const makeLogged = (inner: Steps) => {
    const log: [string, number][] = [];
    return { log, steps: loggedSteps(inner, (text, durationMs) => log.push([text, durationMs])) };
  };

  test("are logged with their time when they are done", async () => {
    const { log, steps } = makeLogged(directSteps);
    const wait = Promise.withResolvers<string>();
    const taken = steps.take(CHANGE, () => wait.promise, "planned");
    expect(log).toEqual([]);
    wait.resolve("real");
    expect(await taken).toBe("real");
    expect(log).toEqual([["change", expect.any(Number)]]);
    expect(log[0]?.[1]).toBeGreaterThanOrEqual(0);
  });

  test("are logged also when they fail", async () => {
    const { log, steps } = makeLogged(directSteps);
    await expect(steps.take(CHANGE, fail, 0)).rejects.toThrow("it failed");
    expect(log).toHaveLength(1);
  });

  test("plan when what they wrap plans", async () => {
    const { steps } = makeLogged(plannedSteps(() => {}));
    expect(steps.planning).toBe(true);
    expect(await steps.take(CHANGE, fail, "planned")).toBe("planned");
  });
});

describe("cancellable steps", () => {
  test("are taken until they are cancelled; then one fails with the reason, and those that undo pass", async () => {
    const controller = new AbortController();
    const steps = cancellableSteps(directSteps, controller.signal);
    const taken: string[] = [];
    const take = (text: string) => steps.take({ ...CHANGE, text }, () => taken.push(text), 0);
    await take("first");
    controller.abort(new Error("stopped by the user"));
    await expect(take("second")).rejects.toThrow("stopped by the user");
    await take("undo first");
    await take("undo more");
    expect(taken).toEqual(["first", "undo first", "undo more"]);
  });

  test("let the step at work end", async () => {
    const controller = new AbortController();
    const steps = cancellableSteps(directSteps, controller.signal);
    const wait = Promise.withResolvers<string>();
    const taken = steps.take(CHANGE, () => wait.promise, "planned");
    controller.abort(new Error("stopped"));
    wait.resolve("real");
    expect(await taken).toBe("real");
  });

  test("plan when what they wrap plans", () => {
    expect(
      cancellableSteps(
        plannedSteps(() => {}),
        new AbortController().signal,
      ).planning,
    ).toBe(true);
  });
});

describe("shellQuote", () => {
  const words = [
    "plain",
    "",
    " ",
    "a b",
    "it's",
    "''",
    '"',
    "\\",
    "a\nb",
    "\t",
    "$HOME",
    "$(id)",
    "`id`",
    "*",
    "~",
    "!!",
    "{a,b}",
    "a;b&c|d<e>f",
    "#",
    "-n",
    "--x=/a b",
    "a=b",
    "%+=:,./-@_",
    "caf\u00e9",
    "\u{1f4be}",
    "\x1b[31m",
  ];

  test("gives a line that a POSIX shell reads back as the same words", () => {
    const line = shellQuote(["printf", "%s\\0", ...words]);
    const shell = Bun.spawnSync(["sh", "-c", line], { timeout: 20_000 });
    expect(shell.stderr.toString()).toBe("");
    expect(shell.stdout.toString().split("\0").slice(0, -1)).toEqual(words);
  });

  test("leaves alone what a person would not quote", () => {
    expect(shellQuote(["mkfs.ext4", "-O", "a,b=1", "/srv/vm/web-1.img"])).toBe(
      "mkfs.ext4 -O a,b=1 /srv/vm/web-1.img",
    );
    expect(shellQuote(["rm", "a b", ""])).toBe("rm 'a b' ''");
  });
});
