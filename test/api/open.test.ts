import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/api/open.ts";
import { type Bed, describeOnBed } from "../support/beds.ts";

describeOnBed({ name: "opening mosaics", backend: "plain", filesystem: "ext4" }, testOpening, 64 * 1024 ** 2);

function testOpening(bed: Bed): void {
  const descriptors = () => readdirSync("/proc/self/fd").length;
  let before = 0;
  let count = 0;

  function writeConfig(type: string, location: string): string {
    const path = join(bed.directory, `config-${count++}.mos`);
    writeFileSync(path, `type: ${type}\nlocation: ${location}\n`);
    return path;
  }

  beforeEach(async () => {
    // The first one loads libraries, which may keep descriptors.
    await (await openMosaic(bed.config))[Symbol.asyncDispose]();
    before = descriptors();
  });
  afterEach(() => expect(descriptors()).toBe(before));

  test("a mosaic tells what it is, and leaves nothing open", async () => {
    await using mosaic = await openMosaic(bed.config);
    expect(mosaic.info()).toMatchObject({
      name: "bed",
      type: "plain",
      location: bed.location,
      config: bed.config,
      features: [],
      limits: { kinds: ["fs"], sizesAreKept: false },
    });
    expect(mosaic.listVolumes()).toEqual([]);
  });

  describe("a location that cannot be one is an error at its place in the config:", () => {
    test.each<[string, (path: string) => void, string]>([
      ["nothing", () => {}, "expected a directory, found nothing at"],
      ["a file", (path) => writeFileSync(path, ""), "expected a directory, found a file at"],
      ["a dangling link", (path) => symlinkSync("nowhere", path), "expected a directory, found nothing at"],
      ["a circle of links", (path) => symlinkSync(path, path), "expected a directory, found nothing at"],
    ])("%s", async (_what, make, fault) => {
      const location = join(bed.directory, `location-${count++}`);
      make(location);
      const config = writeConfig("plain", location);
      await expect(openMosaic(config)).rejects.toMatchObject({
        code: "INVALID_CONFIG",
        message: expect.stringContaining(`${config}:2:11: location: ${fault} "${location}"`),
        details: { file: config, line: 2, column: 11 },
      });
    });

    test("a path through a file", async () => {
      const config = writeConfig("plain", `${bed.config}/below`);
      await expect(openMosaic(config)).rejects.toMatchObject({ code: "INVALID_CONFIG" });
    });

    test("another filesystem than the type needs", async () => {
      const config = writeConfig("btrfs", bed.location);
      await expect(openMosaic(config)).rejects.toMatchObject({
        code: "INVALID_CONFIG",
        message: expect.stringContaining(`${config}:2:11: location: expected a btrfs filesystem, found ext4`),
      });
    });

    test("a path that no system call takes", async () => {
      for (const location of ['"/srv/a\\0b"', `/srv/${"x".repeat(300)}`, `/${"x/".repeat(3000)}`])
        await expect(openMosaic(writeConfig("plain", location))).rejects.toMatchObject({
          code: "INVALID_CONFIG",
          details: { line: 2, column: 11 },
        });
    });
  });

  test("a location through a link to a directory is that directory", async () => {
    mkdirSync(join(bed.location, "real"));
    symlinkSync("location/real", join(bed.directory, "link"));
    await using mosaic = await openMosaic(writeConfig("plain", "./link"));
    await mosaic.createVolume("web", { kind: "fs" });
    expect(readdirSync(join(bed.location, "real"))).toEqual(["web"]);
    await mosaic.dropVolume("web");
  });
}
