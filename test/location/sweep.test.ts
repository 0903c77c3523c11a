import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MosaicError } from "../../src/base/errors.ts";
import type { Form } from "../../src/location/form.ts";
import { type Location, openLocation } from "../../src/location/location.ts";
import { fullDiskTrash } from "../../src/location/operation.ts";
import { makeParents } from "../../src/location/parents.ts";
import { formatRecord, RECORD_ATTRIBUTE } from "../../src/location/record.ts";
import { removeTree } from "../../src/location/removal.ts";
import { sweep } from "../../src/location/sweep.ts";
import { tryLock } from "../../src/system/libc.ts";
import { cancellableSteps, directSteps, plannedSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { makeRecord } from "../support/records.ts";

describeOnBed({ name: "sweeping", backend: "plain", filesystem: "ext4" }, testSweeping, 64 * 1024 ** 2);

function testSweeping(bed: Bed): void {
  let location: Location;
  let work = "";
  let held: string[] = [];

  /** Volumes as directories, of which a test says which are held. */
  const form: Form = {
    backend: "plain",
    description: "a directory",
    matches: (status) => status.isDirectory(),
    holders: async (path) =>
      held.includes(path) ? [{ kind: "device", device: "/dev/x", attached: true }] : [],
    remove: (steps, path) => removeTree(steps, path),
  };

  const sweepAll = () => sweep(directSteps, location, form);
  const remains = () => readdirSync(location.path);

  beforeEach(() => {
    const path = mkdtempSync(join(bed.location, "location-"));
    location = openLocation(path, { requireMount: false, layoutPath: "" });
    work = join(path, ".mosaic");
    held = [];
  });
  afterEach(() => closeSync(location.fd));

  /** What a killed run leaves: an operation's directory that nobody has locked, with a volume in it. */
  function makeLeftover(...files: string[]): string {
    const path = join(work, "leftover");
    mkdirSync(work, { mode: 0o700, recursive: true });
    mkdirSync(join(path, "volume/sub"), { recursive: true });
    for (const file of files) writeFileSync(join(path, file), "x");
    return path;
  }

  test("a sweep removes what nobody has locked, with its empty parents", async () => {
    makeLeftover("volume/file", "volume/sub/file");
    mkdirSync(join(work, "leftover/parent"));
    mkdirSync(join(work, "empty"));
    await sweepAll();
    expect(remains()).toEqual([]);
  });

  test("a sweep removes the parents that a dropped volume leaves empty", async () => {
    const record = makeRecord("a/b/web", "plain");
    const path = makeLeftover();
    await makeParents(directSteps, location, record.storedName, path);
    run("setfattr", "-n", RECORD_ATTRIBUTE, "-v", formatRecord(record), join(path, "volume"));
    expect(existsSync(join(location.path, "a/b"))).toBe(true);
    await sweepAll();
    expect(remains()).toEqual([]);
  });

  test("a sweep leaves what another process has locked, until that ends", async () => {
    const path = makeLeftover("volume/file");
    const holder = Bun.spawn(["flock", "--no-fork", path, "sh", "-c", "echo ready; exec sleep infinity"], {
      stdout: "pipe",
    });
    try {
      await holder.stdout.getReader().read();
      await sweepAll();
      expect(existsSync(join(path, "volume/file"))).toBe(true);
    } finally {
      holder.kill("SIGKILL");
      await holder.exited;
    }
    await sweepAll();
    expect(remains()).toEqual([]);
  });

  test("a sweep leaves what somebody uses", async () => {
    const path = makeLeftover("volume/file");
    held = [join(path, "volume")];
    await sweepAll();
    expect(existsSync(join(path, "volume/file"))).toBe(true);
    held = [];
    await sweepAll();
    expect(remains()).toEqual([]);
  });

  test("a sweep leaves what cannot be removed and goes on with the rest", async () => {
    const path = makeLeftover("volume/file");
    mkdirSync(join(work, "other/volume"), { recursive: true });
    run("chattr", "+i", join(path, "volume/file"));
    await sweepAll();
    expect(readdirSync(work)).toEqual(["leftover"]);
    run("chattr", "-i", join(path, "volume/file"));
    await sweepAll();
    expect(remains()).toEqual([]);
  });

  test("a sweep leaves what has no form of a volume", async () => {
    const path = makeLeftover();
    run("rm", "-r", join(path, "volume"));
    writeFileSync(join(path, "volume"), "not ours");
    symlinkSync("/etc", join(path, "link"));
    await sweepAll();
    expect(readdirSync(path).sort()).toEqual(["link", "volume"]);
  });

  test("a sweep removes what a drop on a full disk left, when nobody has it locked", async () => {
    const trash = fullDiskTrash(location);
    mkdirSync(trash);
    const fd = openSync(trash, "r");
    expect(tryLock(fd)).toBe(true);
    await sweepAll();
    expect(existsSync(trash)).toBe(true);
    closeSync(fd);
    await sweepAll();
    expect(remains()).toEqual([]);
  });

  test("a sweep that is cancelled ends there, and does not let the command go on", async () => {
    const path = makeLeftover("volume/file");
    const controller = new AbortController();
    controller.abort(new MosaicError("CANCELLED", "stopped by the user"));
    const swept = sweep(cancellableSteps(directSteps, controller.signal), location, form);
    await expect(swept).rejects.toMatchObject({ code: "CANCELLED" });
    expect(existsSync(join(path, "volume/file"))).toBe(true);
  });

  test("a sweep of nothing does nothing, and a plan removes nothing", async () => {
    await sweepAll();
    makeLeftover("volume/file");
    const log: string[] = [];
    await sweep(
      plannedSteps((text) => log.push(text)),
      location,
      form,
    );
    expect(log[0]).toBe(`rm -r --one-file-system ${join(work, "leftover/volume")}`);
    expect(existsSync(join(work, "leftover/volume/file"))).toBe(true);
  });
}
