import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parseStoredName, type StoredName } from "../../src/base/names.ts";
import { type Location, openLocation } from "../../src/location/location.ts";
import { isParent, makeParents, PARENT_ATTRIBUTE, pruneParents } from "../../src/location/parents.ts";
import { RECORD_ATTRIBUTE } from "../../src/location/record.ts";
import { directSteps, plannedSteps, type Steps } from "../../src/system/steps.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

for (const filesystem of ["ext4", "btrfs"] as const)
  describeOnBed(
    { name: `parents on ${filesystem}`, backend: "plain", filesystem },
    testParents,
    256 * 1024 ** 2,
  );

function testParents(bed: Bed): void {
  let location: Location;
  let staging = "";
  const name = (text: string): StoredName => parseStoredName(text);
  const at = (path: string) => join(location.path, path);
  const make = (text: string, steps: Steps = directSteps) =>
    makeParents(steps, location, name(text), staging);
  const prune = (text: string, steps: Steps = directSteps) => pruneParents(steps, location, name(text));

  beforeEach(() => {
    location = openLocation(mkdtempSync(join(bed.location, "location-")), {
      requireMount: false,
      layoutPath: "",
    });
    staging = at("staging");
    mkdirSync(staging);
  });
  afterEach(() => closeSync(location.fd));

  const markOf = (path: string) => {
    const result = Bun.spawnSync(["getfattr", "--only-values", "-n", PARENT_ATTRIBUTE, at(path)], {
      stderr: "ignore",
    });
    return result.success ? result.stdout.toString() : undefined;
  };

  test("are made with their mark, private, and nothing is left in staging", async () => {
    await make("a/b/c");
    expect(["a", "a/b"].map(markOf)).toEqual(["made", "made"]);
    expect(["a", "a/b"].map((path) => statSync(at(path)).mode & 0o7777)).toEqual([0o700, 0o700]);
    expect(["a", "a/b"].map((path) => isParent(at(path)))).toEqual([true, true]);
    expect(existsSync(at("a/b/c"))).toBe(false);
    expect(readdirSync(staging)).toEqual([]);
    await make("a/b/d");
    await make("single");
    expect(readdirSync(location.path).sort()).toEqual(["a", "staging"]);
  });

  test("that were there are marked as found, and keep their mark", async () => {
    mkdirSync(at("a/b"), { recursive: true });
    expect(isParent(at("a"))).toBe(false);
    await make("a/b/x/c");
    expect(["a", "a/b", "a/b/x"].map(markOf)).toEqual(["found", "found", "made"]);
    await make("a/b/x/d");
    expect(["a", "a/b", "a/b/x"].map(markOf)).toEqual(["found", "found", "made"]);
  });

  test("are removed when they are empty and were made, up to the first that was found", async () => {
    mkdirSync(at("a"));
    await make("a/b/c/d/volume");
    await prune("a/b/c/d/volume");
    expect(readdirSync(at("a"))).toEqual([]);
    expect(markOf("a")).toBe("found");
    await make("x/y/volume");
    await prune("x/y/volume");
    expect(readdirSync(location.path).sort()).toEqual(["a", "staging"]);
  });

  test("stay while something lies in them", async () => {
    await make("a/b/volume");
    writeFileSync(at("a/other"), "");
    await prune("a/b/volume");
    expect(readdirSync(at("a"))).toEqual(["other"]);
    await prune("a/b/volume");
    expect(existsSync(at("a/other"))).toBe(true);
  });

  test("without a mark stay", async () => {
    mkdirSync(at("a"));
    await prune("a/volume");
    expect(existsSync(at("a"))).toBe(true);
  });

  describe("are refused when one is", () => {
    test.each(["a", "a/b"])("a symbolic link: %s", async (path) => {
      mkdirSync(at("elsewhere"));
      if (path !== "a") mkdirSync(at("a"));
      symlinkSync(at("elsewhere"), at(path));
      await expect(make("a/b/c")).rejects.toMatchObject({
        code: "ALREADY_EXISTS",
        message: `nothing can lie below "${path}": it is not a directory, and no volume lies inside another`,
      });
      expect(readdirSync(at("elsewhere"))).toEqual([]);
    });

    test("a file", async () => {
      writeFileSync(at("a"), "precious");
      await expect(make("a/b")).rejects.toMatchObject({ code: "ALREADY_EXISTS", details: { parent: "a" } });
    });

    test("a volume", async () => {
      mkdirSync(at("a"));
      run("setfattr", "-n", RECORD_ATTRIBUTE, "-v", "anything", at("a"));
      await expect(make("a/b")).rejects.toMatchObject({
        code: "ALREADY_EXISTS",
        message: 'nothing can lie below "a": it is a volume, and no volume lies inside another',
      });
      expect(markOf("a")).toBeUndefined();
    });

    test("another mount, also of the same filesystem", async () => {
      for (const path of ["a", "source"]) mkdirSync(at(path));
      run("mount", "--bind", at("source"), at("a"));
      try {
        await expect(make("a/b")).rejects.toMatchObject({
          code: "UNSUPPORTED",
          message: 'nothing can lie below "a": another filesystem is mounted there',
        });
        expect(readdirSync(at("source"))).toEqual([]);
      } finally {
        run("umount", at("a"));
      }
    });
  });

  if (bed.row.filesystem === "btrfs") {
    test("are refused when one is a subvolume, and a subvolume is never removed", async () => {
      run("btrfs", "-q", "subvolume", "create", at("sub"));
      await expect(make("sub/b")).rejects.toMatchObject({
        code: "UNSUPPORTED",
        message: 'nothing can lie below "sub": it is a btrfs subvolume',
      });
      run("setfattr", "-n", PARENT_ATTRIBUTE, "-v", "made", at("sub"));
      await prune("sub/volume");
      expect(existsSync(at("sub"))).toBe(true);
    });
  }

  test("are made once when many make them at the same time", async () => {
    const stagings = Array.from({ length: 20 }, (_, index) => `${staging}/${index}`);
    for (const path of stagings) mkdirSync(path);
    await Promise.all(stagings.map((path) => makeParents(directSteps, location, name("a/b/c/d"), path)));
    expect(["a", "a/b", "a/b/c"].map(markOf)).toEqual(["made", "made", "made"]);
    expect(stagings.flatMap((path) => readdirSync(path))).toEqual([]);
  });

  /** Steps of which one is followed by somebody else's action. */
  const disturbed = (after: string, disturb: () => void): Steps => ({
    planning: false,
    async take(step, action) {
      const result = await action();
      if (step.text.includes(after)) disturb();
      return result;
    },
  });

  test("are made when somebody makes one between two steps", async () => {
    await make(
      "a/b",
      disturbed("mkdir", () => existsSync(at("a")) || mkdirSync(at("a"))),
    );
    expect(markOf("a")).toBe("found");
    expect(readdirSync(staging)).toEqual([]);
  });

  test("are made again when somebody removes an upper one between two steps", async () => {
    let attempts = 0;
    const disturb = () => {
      if (++attempts === 2) rmdirSync(at("a"));
      if (attempts > 100) throw new Error("the lower one is tried for ever");
    };
    await make("a/b/c", disturbed("mkdir", disturb));
    expect(["a", "a/b"].map(markOf)).toEqual(["made", "made"]);
  });

  test("are only described in a plan", async () => {
    const log: string[] = [];
    await make(
      "a/b",
      plannedSteps((text) => log.push(text)),
    );
    expect(log[0]).toBe(`mkdir -m 700 ${staging}/parent`);
    expect(log).toContain(`mv --no-clobber --no-target-directory ${staging}/parent ${at("a")}`);
    expect(readdirSync(location.path)).toEqual(["staging"]);
    await make("a/b");
    mkdirSync(at("a/b"));
    log.length = 0;
    await prune(
      "a/b",
      plannedSteps((text) => log.push(text)),
    );
    expect(log).toEqual([`rmdir ${at("a")}`]);
    expect(existsSync(at("a/b"))).toBe(true);
  });
}
