import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Form } from "../../src/location/form.ts";
import { type Location, openLocation } from "../../src/location/location.ts";
import { openOperation } from "../../src/location/operation.ts";
import { removeTree } from "../../src/location/removal.ts";
import { sweep } from "../../src/location/sweep.ts";
import { tryLock } from "../../src/system/libc.ts";
import { directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

describeOnBed({ name: "operations", backend: "plain", filesystem: "ext4" }, testOperations, 64 * 1024 ** 2);

function testOperations(bed: Bed): void {
  let location: Location;
  let work = "";

  const form: Form = {
    backend: "plain",
    description: "a directory",
    matches: (status) => status.isDirectory(),
    holders: async () => [],
    remove: (steps, path) => removeTree(steps, path),
  };

  const open = () => openOperation(directSteps, location);
  const sweepAll = () => sweep(directSteps, location, form);
  const remains = () => readdirSync(location.path);

  beforeEach(() => {
    const path = mkdtempSync(join(bed.location, "location-"));
    location = openLocation(path, { requireMount: false, layoutPath: "" });
    work = join(path, ".mosaic");
  });
  afterEach(() => closeSync(location.fd));

  test("an operation has a private, locked directory, and leaves nothing", async () => {
    const operation = await open();
    expect(statSync(work).mode & 0o7777).toBe(0o700);
    expect(statSync(operation.path).mode & 0o7777).toBe(0o700);
    expect(operation.volumePath).toBe(join(operation.path, "volume"));
    const fd = openSync(operation.path, "r");
    expect(tryLock(fd)).toBe(false);
    closeSync(fd);
    mkdirSync(operation.volumePath);
    await sweepAll();
    expect(existsSync(operation.volumePath)).toBe(true);
    run("rmdir", operation.volumePath);
    await operation.close();
    expect(remains()).toEqual([]);
  });

  test("many operations at the same time have a directory each; the last one takes .mosaic away", async () => {
    const operations = await Promise.all(Array.from({ length: 30 }, open));
    expect(new Set(operations.map(({ path }) => path)).size).toBe(30);
    const [first, ...others] = operations;
    for (const operation of others) await operation.close();
    expect(remains()).toEqual([".mosaic"]);
    await first?.close();
    expect(remains()).toEqual([]);
  });

  test("operations that come and go do not disturb each other or a sweep", async () => {
    const worker = async () => {
      for (let round = 0; round < 10; round++) {
        const operation = await open();
        mkdirSync(operation.volumePath);
        await sweepAll();
        run("rmdir", operation.volumePath);
        await operation.close();
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    expect(remains()).toEqual([]);
  });

  describe.each<[string, (path: string) => unknown]>([
    ["a symbolic link", (path) => symlinkSync("/etc", path)],
    ["a dangling link", (path) => symlinkSync("nowhere", path)],
    ["a file", (path) => writeFileSync(path, "precious", { mode: 0o600 })],
    ["readable by a group", (path) => run("install", "-d", "-m", "750", path)],
    ["writable by all", (path) => run("install", "-d", "-m", "777", path)],
    ["somebody else's", (path) => run("install", "-d", "-m", "700", "-o", "12345", path)],
  ])("a .mosaic that is %s", (_what, make) => {
    test.each([
      ["an operation", open],
      ["a sweep", sweepAll],
    ])("is refused by %s and left as it is", async (_who, action) => {
      make(work);
      const before = run("stat", "-c", "%F %a %u %s %i", work);
      await expect(action()).rejects.toMatchObject({
        code: "DAMAGED",
        message: expect.stringContaining(`"${work}" is not a private directory of root's`),
      });
      expect(run("stat", "-c", "%F %a %u %s %i", work)).toBe(before);
    });
  });

  test("a planned operation makes nothing", async () => {
    const log: string[] = [];
    const operation = await openOperation(
      plannedSteps((text) => log.push(text)),
      location,
    );
    expect(operation.fd).toBe(-1);
    await operation.close();
    expect(log.slice(0, 2)).toEqual([`mkdir -m 700 ${work}`, `mkdir -m 700 ${operation.path}`]);
    expect(remains()).toEqual([]);
  });
}
