import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { dropVolume, publishVolume } from "../../src/location/changes.ts";
import type { Form } from "../../src/location/form.ts";
import { type Location, openLocation } from "../../src/location/location.ts";
import type { VolumeRecord } from "../../src/location/record.ts";
import { removeTree } from "../../src/location/removal.ts";
import type { Store } from "../../src/location/store.ts";
import { listVolumes } from "../../src/location/volumes.ts";
import { makeDirectory } from "../../src/system/files.ts";
import { directSteps, type Steps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { makeRecord } from "../support/records.ts";

const SOURCE = join(import.meta.dir, "../../src");

describeOnBed({ name: "races", backend: "plain", filesystem: "ext4" }, testRaces, 64 * 1024 ** 2);

/** Volumes as directories. */
const form: Form = {
  backend: "plain",
  description: "a directory",
  matches: (status) => status.isDirectory(),
  holders: async () => [],
  remove: (steps, path) => removeTree(steps, path),
};

function testRaces(bed: Bed): void {
  let location: Location;
  const at = (name: string) => join(location.path, name);
  const remains = () => readdirSync(location.path);
  const storeWith = (steps: Steps): Store => ({ steps, location, form, lockTimeoutMs: 60_000 });
  const list = () => [...listVolumes(location, form)].map((record) => record.name as string);

  beforeEach(() => {
    location = openLocation(mkdtempSync(join(bed.location, "location-")), {
      requireMount: false,
      layoutPath: "",
    });
  });
  afterEach(() => closeSync(location.fd));

  function recordOf(name: string): VolumeRecord {
    return makeRecord(name, form.backend);
  }

  const create = (name: string, steps: Steps = directSteps) =>
    publishVolume(storeWith(steps), recordOf(name), (operation) =>
      makeDirectory(steps, operation.volumePath, 0o700),
    );
  const drop = (name: string, steps: Steps = directSteps) => dropVolume(storeWith(steps), recordOf(name));

  /** Steps of which those with `text` are followed by somebody else's action. */
  const disturbed = (text: string, disturb: () => void): Steps => ({
    planning: false,
    async take(step, action) {
      const result = await action();
      if (step.text.includes(text)) disturb();
      return result;
    },
  });

  describe("a volume is made", () => {
    test("when its parents are removed after they were made", async () => {
      let removals = 0;
      const remove = () => {
        if (removals++ === 0) for (const parent of ["a/b", "a"]) rmdirSync(at(parent));
      };
      await create("a/b/web", disturbed(`/parent ${at("a/b")}`, remove));
      expect(list()).toEqual(["a/b/web"]);
      await drop("a/b/web");
      expect(remains()).toEqual([]);
    });

    test("by one only, when many make it at the same time", async () => {
      const results = await Promise.allSettled(Array.from({ length: 20 }, () => create("a/web")));
      const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
      expect(failures.map((error) => error.code)).toEqual(Array(19).fill("ALREADY_EXISTS"));
      expect(list()).toEqual(["a/web"]);
      expect(remains()).toEqual(["a"]);
    });

    test("and its name is not taken from what appears in its place meanwhile", async () => {
      const appear = () => existsSync(at("web")) || mkdirSync(at("web/precious"), { recursive: true });
      await expect(create("web", disturbed("setfattr", appear))).rejects.toMatchObject({
        code: "ALREADY_EXISTS",
      });
      expect(readdirSync(at("web"))).toEqual(["precious"]);
      expect(remains()).toEqual(["web"]);
    });
  });

  describe("a volume is dropped", () => {
    test("when somebody else removes the parent that it leaves empty", async () => {
      await create("a/b/web");
      const remove = () =>
        existsSync(at("a/b")) && readdirSync(at("a/b")).length === 0 && rmdirSync(at("a/b"));
      await drop("a/b/web", disturbed(`mv --no-clobber --no-target-directory ${at("a/b/web")}`, remove));
      expect(list()).toEqual([]);
      expect(remains()).toEqual([]);
    });

    test("by one only, when many drop it at the same time", async () => {
      await create("web");
      const results = await Promise.allSettled(Array.from({ length: 20 }, () => drop("web")));
      const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
      expect(failures.map((error) => error.code)).toEqual(Array(19).fill("NOT_FOUND"));
      expect(remains()).toEqual([]);
    });
  });

  test("50 volumes are made and dropped at the same time, and nothing is left", async () => {
    const names = Array.from({ length: 50 }, (_, index) => `p${index % 3}/q/v${index}`);
    await Promise.all(names.map((name) => create(name)));
    expect(list().sort()).toEqual(names.sort());
    await Promise.all(names.map((name) => drop(name)));
    expect(remains()).toEqual([]);
  });

  test("processes that work at the same time do not take each other's directories away", async () => {
    const code = `
      const { openLocation } = await import("${SOURCE}/location/location.ts");
      const { openOperation } = await import("${SOURCE}/location/operation.ts");
      const { directSteps } = await import("${SOURCE}/system/steps.ts");
      const location = openLocation("${location.path}", { requireMount: false, layoutPath: "" });
      for (let round = 0; round < 2000; round++) await (await openOperation(directSteps, location)).close();`;
    const children = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, "-e", code], { stderr: "pipe" }),
    );
    const ends = children.map(async (child) => [await child.exited, await child.stderr.text()]);
    expect(await Promise.all(ends)).toEqual(children.map(() => [0, ""]));
    expect(remains()).toEqual([]);
  });

  test("a mount that comes after the last look keeps the volume from being dropped", async () => {
    await create("web");
    const target = bed.makeMountPoint();
    let looks = 0;
    const watchful: Form = {
      ...form,
      holders: async (path) => {
        if (looks++ === 0) run("mount", "--bind", path, target);
        return looks > 1 ? [{ kind: "device", device: "/dev/x", attached: true }] : [];
      },
    };
    const dropped = dropVolume({ ...storeWith(directSteps), form: watchful }, recordOf("web"));
    await expect(dropped).rejects.toMatchObject({ code: "BUSY" });
    expect(list()).toEqual(["web"]);
    expect(remains()).toEqual(["web"]);
    run("umount", target);
  });
}
