import { describe, expect, test } from "bun:test";
import { ACTION_NAMES, type ActionName, actionOf, findAction, runAction } from "../../src/api/actions.ts";
import type { Mosaic } from "../../src/api/mosaic.ts";

describe("an action is found", () => {
  const meanings: Record<ActionName, readonly string[]> = {
    mount: ["m", "mo", "mount"],
    umount: ["u", "um", "umount"],
    attach: ["a", "at", "attach"],
    detach: ["d", "de", "detach"],
    create: ["c", "cr", "create", "n", "ne", "new"],
    clone: ["cl", "clo", "clone"],
    drop: ["dr", "drop"],
    info: ["i", "in", "info"],
    have: ["h", "ha", "have"],
    list: ["l", "li", "list"],
    adopt: ["ad", "adopt"],
    resize: ["r", "re", "resize"],
    check: ["ch", "check"],
  };
  test.each(Object.entries(meanings) as [ActionName, string[]][])("%s by each of %j", (action, words) => {
    expect(words.map(findAction)).toEqual(words.map(() => action));
  });

  test("in an order in which old scripts keep their meaning", () => {
    const old = ["mount", "umount", "attach", "detach", "create", "clone", "drop", "info", "have"];
    expect(ACTION_NAMES.slice(0, old.length)).toEqual(old as ActionName[]);
    expect(ACTION_NAMES).toEqual(Object.keys(meanings) as ActionName[]);
  });

  test.each(["", "-", "x", "mounts", "newer", "M", " m", "fs", "__proto__", "constructor"])(
    "never by %j",
    (word) => {
      expect(findAction(word)).toBeUndefined();
    },
  );
});

/** Fails the test when an action reaches its mosaic although its values are wrong. */
const untouchable = new Proxy({} as Mosaic, {
  get: (_mosaic, member) => {
    throw new Error(`the mosaic was asked for ${String(member)}`);
  },
});

describe("values of another type are refused before anything is done:", () => {
  test.each([
    ["mount", { volume: "a" }, "mountPoint"],
    ["mount", { volume: 1, mountPoint: "/x" }, "volume"],
    ["mount", { volume: "a", mountPoint: "/x", readOnly: "ro" }, "readOnly"],
    ["umount", { volume: "a", mountPoint: null }, "mountPoint"],
    ["attach", {}, "volume"],
    ["detach", { volume: ["a"] }, "volume"],
    ["create", { kind: "file", volume: "a" }, "kind"],
    ["create", { kind: "fs", volume: {}, sizeBytes: 1 }, "volume"],
    ["create", { kind: "fs", volume: "a", sizeBytes: "1M" }, "sizeBytes"],
    ["create", { kind: "fs", volume: "a", sizeBytes: 0 }, "sizeBytes"],
    ["create", { kind: "fs", volume: "a", sizeBytes: -4096 }, "sizeBytes"],
    ["create", { kind: "fs", volume: "a", sizeBytes: 1.5 }, "sizeBytes"],
    ["create", { kind: "fs", volume: "a", sizeBytes: 2 ** 60 }, "sizeBytes"],
    ["create", { kind: "fs", volume: "a", sizeBytes: Number.NaN }, "sizeBytes"],
    ["clone", { origin: "a" }, "volume"],
    ["drop", { volume: true }, "volume"],
    ["have", { volume: undefined }, "volume"],
    ["adopt", { kind: "x", volume: "a" }, "kind"],
  ] as const)("%s %j", async (action, values, parameter) => {
    await expect(runAction(untouchable, action, values)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`Invalid parameter "${parameter}" of ${action}: `),
      details: { parameter },
    });
  });

  test.each([...ACTION_NAMES])("%s with a value that it does not know", async (action) => {
    const known = { kind: "fs", volume: "a", origin: "a", mountPoint: "/x" };
    const names = Object.keys(actionOf(action).arguments);
    const values = Object.fromEntries(Object.entries(known).filter(([name]) => names.includes(name)));
    await expect(runAction(untouchable, action, { ...values, banana: 1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `Invalid parameter "banana" of ${action}: there is no such parameter`,
    });
  });

  test("and the error names what is unknown and what was expected", async () => {
    await expect(runAction(untouchable, "info", { banana: 1 })).rejects.toThrow("banana");
    await expect(runAction(untouchable, "create", { kind: "file", volume: "a" })).rejects.toThrow(/fs.*disk/);
    await expect(runAction(untouchable, "drop", { volume: 5 })).rejects.toThrow("a text");
  });
});

test.each([
  [{}],
  [{ kind: "fs" }],
  [{ volume: "a" }],
  [{ kind: "fs", list: { volumes: [] } }],
  [{ kind: "fs", volume: "a", list: { volumes: [] } }],
])("adopt takes either a kind and a volume or a list, not %j", async (values) => {
  await expect(runAction(untouchable, "adopt", values)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: "adopt takes either {fs|disk} VOLUME or --from LIST.json",
  });
});

test("adopt does not take a list beside a volume without a kind", async () => {
  await expect(runAction(untouchable, "adopt", { volume: "a", list: { volumes: [] } })).rejects.toMatchObject(
    {
      code: "INVALID_ARGUMENT",
    },
  );
});

describe("the flags of mount", () => {
  const { parse } = actionOf("mount").arguments.readOnly ?? {};

  test.each([
    ["ro", true],
    ["rw", false],
    ["ro,ro", true],
  ])("%j mean that read-only is %p", (text, readOnly) => {
    expect(parse?.(text)).toBe(readOnly);
  });

  test.each([
    ["", 'Unknown mount flag "": expected ro or rw'],
    ["ro,", 'Unknown mount flag "": expected ro or rw'],
    ["RO", 'Unknown mount flag "RO": expected ro or rw'],
    ["ro,noexec", 'Unknown mount flag "noexec": expected ro or rw'],
    ["ro,rw", "The mount flags ro and rw exclude each other"],
  ])("%j are refused", (text, message) => {
    expect(() => parse?.(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message }));
  });
});
