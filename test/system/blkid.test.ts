import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { probeFilesystem } from "../../src/system/blkid.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { makeTestDirectory, removeTestDirectory, run } from "../support/beds.ts";

let directory = "";
beforeAll(() => {
  directory = makeTestDirectory("blkid");
});
afterAll(() => removeTestDirectory(directory));

function makeImage(name: string, size: string, ...mkfs: string[]): string {
  const path = join(directory, name);
  run("truncate", "-s", size, path);
  if (mkfs.length > 0) run(...mkfs, path);
  return path;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

describe("what blkid finds", () => {
  test.each([
    ["ext4", "16M", ["mkfs.ext4", "-q"]],
    ["xfs", "320M", ["mkfs.xfs", "-q"]],
    ["btrfs", "128M", ["mkfs.btrfs", "-q"]],
  ])("in a fresh %s", async (type, size, mkfs) => {
    const path = makeImage(type, size, ...mkfs);
    const found = await probeFilesystem(directSteps, path);
    expect(found).toEqual({ type, uuid: expect.stringMatching(UUID) });
    expect(found?.uuid).toBe(run("blkid", "-p", "-s", "UUID", "-o", "value", path).trim());
    expect(
      await probeFilesystem(
        plannedSteps(() => {}),
        path,
      ),
    ).toEqual(found);
  });

  test("is read from the file, and not from a cache", async () => {
    const path = makeImage("changing", "16M", "mkfs.ext4", "-q");
    const before = await probeFilesystem(directSteps, path);
    run("tune2fs", "-U", "random", path);
    const after = await probeFilesystem(directSteps, path);
    expect(after?.type).toBe("ext4");
    expect(after?.uuid).not.toBe(before?.uuid as string);
    run("wipefs", "-q", "-a", path);
    expect(await probeFilesystem(directSteps, path)).toBeUndefined();
  });

  test("is nothing in a file that is blank, or empty, or only swap or a partition table", async () => {
    const swap = makeImage("swap", "1M");
    run("mkswap", "-q", swap);
    const table = makeImage("table", "1M");
    const fd = openSync(table, "r+");
    writeSync(fd, Buffer.from([0x55, 0xaa]), 0, 2, 510);
    closeSync(fd);
    for (const path of [makeImage("blank", "16M"), makeImage("empty", "0"), swap, table])
      expect(await probeFilesystem(directSteps, path)).toBeUndefined();
  });

  test("cannot be known of a file that is not there", async () => {
    await expect(probeFilesystem(directSteps, join(directory, "none"))).rejects.toMatchObject({
      code: "TOOL_FAILED",
    });
  });
});
