import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { MosaicError } from "../../src/base/errors.ts";
import { calling, errnoName, hasErrno, systemError, unlessErrno } from "../../src/system/errno.ts";

describe("a failed system call", () => {
  test.each([
    ["ENOSPC", "NO_SPACE", "no space left on the device"],
    ["EDQUOT", "NO_SPACE", "the disk quota is used up: raise it, or remove what is not needed"],
    ["EPERM", "PERMISSION_DENIED", "the operation is not permitted"],
    ["EACCES", "PERMISSION_DENIED", "permission denied"],
    ["EBUSY", "BUSY", "the device or file is busy"],
    ["EIO", "DAMAGED", "input/output error"],
    ["EUCLEAN", "DAMAGED", "the filesystem is corrupted"],
    ["ENOSYS", "UNAVAILABLE", "this kernel lacks the system call"],
    ["ENOENT", "TOOL_FAILED", "there is no such file or directory"],
    ["EEXIST", "TOOL_FAILED", "it exists"],
    ["ENOTDIR", "TOOL_FAILED", "it is not a directory"],
    ["EROFS", "UNAVAILABLE", "the filesystem is read-only"],
    ["ELOOP", "TOOL_FAILED", "there is a symbolic link in the way"],
    ["EXDEV", "TOOL_FAILED", "another filesystem or mount is in the way"],
  ] as const)("with %s is %s in words", (errno, code, words) => {
    const cause = new Error("below");
    const error = systemError("rename", "/srv/a\nb", errno, cause);
    expect(error).toMatchObject({
      code,
      message: `rename "/srv/a\\nb": ${words} (${errno})`,
      details: { call: "rename", subject: "/srv/a\nb", errno },
    });
    expect(error.cause).toBe(cause);
  });

  test("with any other errno is TOOL_FAILED and names it", () => {
    expect(systemError("mount", "/x", "EMEDIUMTYPE")).toMatchObject({
      code: "TOOL_FAILED",
      message: 'mount "/x": EMEDIUMTYPE',
    });
  });
});

test.each([
  [1, "EPERM"],
  [2, "ENOENT"],
  [11, "EAGAIN"],
  [17, "EEXIST"],
  [28, "ENOSPC"],
  [61, "ENODATA"],
  [122, "EDQUOT"],
  [99_999, "errno 99999"],
])("the errno %d is named %s", (number, name) => {
  expect(errnoName(number)).toBe(name);
});

test("the errno of a corrupted filesystem is named EUCLEAN, so that it is DAMAGED", () => {
  expect(errnoName(117)).toBe("EUCLEAN");
});

describe("a call of node:fs", () => {
  test("gives its value", () => {
    expect(calling("read", "/proc/self/comm", () => readFileSync("/proc/self/comm", "utf8"))).not.toBe("");
  });

  test("fails like a system call of our own", () => {
    expect(() => calling("open", "what was said", () => readFileSync("/none/such"))).toThrow(
      expect.objectContaining({
        code: "TOOL_FAILED",
        details: { call: "open", subject: "what was said", errno: "ENOENT" },
        cause: expect.objectContaining({ syscall: "open" }),
      }),
    );
  });

  test("lets other errors pass as they are", () => {
    const ours = new MosaicError("BUSY", "it is mounted");
    const bug = new TypeError("a bug");
    for (const thrown of [ours, bug]) {
      const failing = () => {
        throw thrown;
      };
      expect(() => calling("open", "x", failing)).toThrow(thrown);
      expect(() => unlessErrno(["ENOENT"], failing)).toThrow(thrown);
    }
  });
});

test("an errno is recognized by its name, and only in our own errors", () => {
  const error = systemError("open", "/x", "ENOENT");
  expect(hasErrno(error, "EEXIST", "ENOENT")).toBe(true);
  expect(hasErrno(error, "EEXIST")).toBe(false);
  expect(hasErrno(Object.assign(new Error("x"), { details: { errno: "ENOENT" } }), "ENOENT")).toBe(false);
  expect(hasErrno(undefined, "ENOENT")).toBe(false);
});

test("unlessErrno gives undefined for what was expected to fail, and the value otherwise", () => {
  const missing = () => calling("open", "/none", () => readFileSync("/none/such"));
  expect(unlessErrno(["ENOENT"], missing)).toBeUndefined();
  expect(() => unlessErrno(["EEXIST"], missing)).toThrow("ENOENT");
  expect(unlessErrno(["ENOENT"], () => "value")).toBe("value");
});
