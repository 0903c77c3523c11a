import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdirSync, mkdtempSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import type { Form } from "../../src/location/form.ts";
import { type Location, openLocation } from "../../src/location/location.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "../../src/location/record.ts";
import type { Store } from "../../src/location/store.ts";
import { lockForeign, lockVolume } from "../../src/location/volumes.ts";
import { fileKeyOf, openPath } from "../../src/system/files.ts";
import { tryLock } from "../../src/system/libc.ts";
import { directSteps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

describeOnBed({ name: "locking volumes", backend: "loop", filesystem: "xfs" }, testLocking);

/** Volumes as files, like images. */
const form: Form = {
  backend: "test",
  description: "a file",
  matches: (status) => status.isFile(),
  holders: async () => [],
  remove: async () => {},
};

function testLocking(bed: Bed): void {
  let location: Location;
  let store: Store;
  const at = (name: string) => join(location.path, name);
  const addressOf = (name: string, storedName = name) => ({
    name: parseVolumeName(name),
    storedName: parseStoredName(storedName),
  });

  beforeEach(() => {
    location = openLocation(mkdtempSync(join(bed.location, "location-")), {
      requireMount: false,
      layoutPath: "",
    });
    store = { steps: directSteps, location, form, lockTimeoutMs: 60_000 };
  });
  afterEach(() => closeSync(location.fd));

  function recordOf(name: string, storedName = name): VolumeRecord {
    return {
      id: crypto.randomUUID(),
      ...addressOf(name, storedName),
      backend: form.backend,
      kind: "disk",
      filesystem: null,
      sizeBytes: 4096,
      parentId: null,
      createdAt: new Date().toISOString(),
      labels: {},
    };
  }

  function setRecord(path: string, record: object | string): void {
    const value = typeof record === "string" ? record : JSON.stringify(record);
    run("setfattr", "-h", "-n", RECORD_ATTRIBUTE, "-v", value, path);
  }

  function makeVolume(name: string, storedName = name): VolumeRecord {
    mkdirSync(dirname(at(storedName)), { recursive: true });
    writeFileSync(at(storedName), "content");
    const record = recordOf(name, storedName);
    setRecord(at(storedName), formatRecord(record));
    return record;
  }

  test("a lock is of a volume of exactly this name", async () => {
    makeVolume("web", "x/web");
    const volume = await lockVolume(store, addressOf("web", "x/web"));
    expect(volume).toMatchObject({ path: at("x/web"), record: { name: "web" } });
    volume.close();
    await expect(lockVolume(store, addressOf("other", "x/web"))).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: 'there is no volume "other": its place "x/web" belongs to the volume "web"',
      details: { name: "other", reason: "other-volume", owner: "web" },
    });
  });

  test("a lock is never of something foreign, or of nothing", async () => {
    writeFileSync(at("foreign"), "");
    await expect(lockVolume(store, addressOf("foreign"))).rejects.toMatchObject({
      code: "NOT_FOUND",
      details: { name: "foreign", reason: "foreign", why: "it has no record" },
    });
    await expect(lockVolume(store, addressOf("none"))).rejects.toMatchObject({
      code: "NOT_FOUND",
      details: { name: "none", reason: "absent" },
    });
    (await lockForeign(store, addressOf("foreign"))).close();
    makeVolume("web");
    await expect(lockForeign(store, addressOf("web"))).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
  });

  test("a lock keeps others out until it is closed", async () => {
    makeVolume("web");
    const volume = await lockVolume(store, addressOf("web"));
    await expect(lockVolume({ ...store, lockTimeoutMs: 0 }, addressOf("web"))).rejects.toMatchObject({
      code: "LOCKED",
      details: { pids: [process.pid] },
    });
    volume.close();
    (await lockVolume({ ...store, lockTimeoutMs: 0 }, addressOf("web"))).close();
  });

  test.each(["replaced", "gone"])(
    "a lock that was waited for is not of what was %s meanwhile",
    async (end) => {
      makeVolume("web");
      const fd = openPath(at("web"));
      expect(tryLock(fd)).toBe(true);
      const waiting = lockVolume(store, addressOf("web"));
      renameSync(at("web"), join(location.path, ".old"));
      if (end === "replaced") makeVolume("web");
      closeSync(fd);
      if (end === "gone") return expect(waiting).rejects.toMatchObject({ code: "NOT_FOUND" });
      const volume = await waiting;
      const now = openPath(at("web"));
      expect(fileKeyOf(volume.fd)).toBe(fileKeyOf(now));
      closeSync(now);
      volume.close();
    },
  );
}
