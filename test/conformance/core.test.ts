import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Holder, openMosaic } from "../../src/index.ts";
import { readOwnMounts } from "../../src/system/mounts.ts";
import { ALL_BEDS, type Bed, daemonsBelow, describeOnBed, run } from "../support/beds.ts";
import { listBedDevices } from "../support/devices.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { mountsBelow, snapshotTree } from "../support/snapshot.ts";

// What every backend must do, by one suite.

const SIZE = 16 * 1024 ** 2;
const FS = { kind: "fs", sizeBytes: SIZE } as const;

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("a volume is made, mounted, written, found again and dropped", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      const made = await mosaic.createVolume("web", FS);
      await mosaic.mountVolume("web", mountPoint);
      writeFileSync(join(mountPoint, "hello"), "world");
      await mosaic.unmountVolume("web", mountPoint);
      expect(readdirSync(mountPoint)).toEqual([]);
      await mosaic.mountVolume("web", mountPoint);
      expect(readFileSync(join(mountPoint, "hello"), "utf8")).toBe("world");
      await mosaic.unmountVolume("web", mountPoint);
      expect(mosaic.listVolumes()).toEqual([{ ...made, parent: null, attachedAs: null, mountedAt: [] }]);
      await mosaic.dropVolume("web");
      expect(mosaic.haveVolume("web")).toEqual({ name: "web", exists: false, foreign: null });
      expectEmpty(bed);
    });

    test("info shows the features of the bed", async () => {
      await using mosaic = await openMosaic(bed.config);
      expect(mosaic.info()).toMatchObject({
        type: row.backend,
        location: bed.configuredLocation,
        features: row.features,
      });
    });

    test("the record says what was asked", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("a/b/web", FS);
      const record = await mosaic.getVolume("a/b/web");
      expect(record).toMatchObject({
        name: "a/b/web",
        storedName: "a/b/web",
        backend: row.backend,
        kind: "fs",
        sizeBytes: SIZE,
        parentId: null,
      });
      expect(record.filesystem).toBe(row.features.includes("bdev") ? "ext4" : null);
      expect(Math.abs(Date.parse(record.createdAt) - Date.now())).toBeLessThan(60_000);
      await mosaic.dropVolume("a/b/web");
      expectEmpty(bed);
    });

    test("an existing name is refused and what exists is untouched", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("web", FS);
      mkdirSync(join(bed.location, "alien"));
      symlinkSync("/etc/hostname", join(bed.location, "link"));
      const before = snapshotTree(bed.location);
      await expectError("ALREADY_EXISTS", () => mosaic.createVolume("web", FS));
      await expectError("ALREADY_EXISTS", () => mosaic.createVolume("alien", FS));
      await expectError("ALREADY_EXISTS", () => mosaic.createVolume("link", FS));
      expect(snapshotTree(bed.location)).toEqual(before);
    });

    test("no volume lies inside another, nor where volumes lie", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("web", FS);
      await mosaic.createVolume("group/one", FS);
      const before = snapshotTree(bed.location);
      expect(
        (await expectError("ALREADY_EXISTS", () => mosaic.createVolume("web/inner", FS))).message,
      ).toContain("inside another");
      expect((await expectError("ALREADY_EXISTS", () => mosaic.createVolume("group", FS))).message).toContain(
        "holds volumes",
      );
      expect(snapshotTree(bed.location)).toEqual(before);
      await mosaic.dropVolume("web");
      await mosaic.dropVolume("group/one");
      expectEmpty(bed);
    });

    test("parents that mosaic made go with the last volume, those it found stay", async () => {
      await using mosaic = await openMosaic(bed.config);
      mkdirSync(join(bed.location, "found"));
      await mosaic.createVolume("found/made/one", FS);
      await mosaic.createVolume("found/made/two", FS);
      expect(mosaic.listVolumes().map(({ name }) => String(name))).toEqual([
        "found/made/one",
        "found/made/two",
      ]);
      await mosaic.dropVolume("found/made/one");
      expect(existsSync(join(bed.location, "found/made"))).toBe(true);
      await mosaic.dropVolume("found/made/two");
      expect(Object.keys(snapshotTree(bed.location))).toEqual(["found"]);
    });

    test("what is absent is NOT_FOUND", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      const actions: (() => Promise<unknown>)[] = [
        () => mosaic.dropVolume("nothing"),
        () => mosaic.getVolume("nothing"),
        () => mosaic.mountVolume("nothing", mountPoint),
        () => mosaic.unmountVolume("nothing", mountPoint),
        () => mosaic.adoptVolume("nothing", "fs"),
      ];
      for (const action of actions) {
        expect((await expectError("NOT_FOUND", action)).details).toMatchObject({ reason: "absent" });
      }
      await mosaic.createVolume("web", FS);
      expect(
        (await expectError("NOT_FOUND", () => mosaic.unmountVolume("web", mountPoint))).details,
      ).toMatchObject({ reason: "not-mounted" });
      await expectError("NOT_FOUND", () => mosaic.mountVolume("web", join(mountPoint, "missing")));
      expect(listBedDevices(bed)).toEqual([]);
    });

    test("a mounted volume is not dropped, and its holder is named", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      await mosaic.createVolume("web", FS);
      await mosaic.mountVolume("web", mountPoint);
      writeFileSync(join(mountPoint, "data"), "precious");
      const error = await expectError("BUSY", () => mosaic.dropVolume("web"));
      const holders = error.details.holders as Holder[];
      expect(holders.map((holder) => holder.kind !== "device" && holder.path)).toContain(mountPoint);
      expect(error.message).toContain(mountPoint);
      writeFileSync(join(mountPoint, "data"), "still writable");
      expect(mosaic.listVolumes()[0]?.mountedAt).toEqual([mountPoint]);
      await mosaic.unmountVolume("web", mountPoint);
      await mosaic.dropVolume("web");
      expectEmpty(bed);
    });

    test("read-only is read-only, beside a writable mount too", async () => {
      await using mosaic = await openMosaic(bed.config);
      const [first, second] = [bed.makeMountPoint(), bed.makeMountPoint()];
      await mosaic.createVolume("web", FS);
      await mosaic.mountVolume("web", first, { readOnly: true });
      expectReadOnly(first);
      await mosaic.unmountVolume("web", first);
      await mosaic.mountVolume("web", first);
      await mosaic.mountVolume("web", second, { readOnly: true });
      expectReadOnly(second);
      writeFileSync(join(first, "data"), "seen");
      expect(readFileSync(join(second, "data"), "utf8")).toBe("seen");
      await expectError("BUSY", () => mosaic.mountVolume("web", first));
      await mosaic.unmountVolume("web", first);
      await mosaic.unmountVolume("web", second);
      expect(mountsBelow(bed.directory)).toEqual(bed.ownMounts);
      expect(listBedDevices(bed)).toEqual([]);
    });

    test("umount leaves alone what is not the volume", async () => {
      await using mosaic = await openMosaic(bed.config);
      const [mountPoint, link] = [bed.makeMountPoint(), join(bed.directory, "link")];
      await mosaic.createVolume("one", FS);
      await mosaic.createVolume("two", FS);
      await mosaic.mountVolume("one", mountPoint);
      symlinkSync(mountPoint, link);
      await expectError("NOT_FOUND", () => mosaic.unmountVolume("two", mountPoint));
      await expectError("INVALID_ARGUMENT", () => mosaic.unmountVolume("one", link));
      await expectError("INVALID_ARGUMENT", () => mosaic.mountVolume("two", link));
      await expectError("NOT_FOUND", () => mosaic.unmountMetadata(mountPoint));
      expect(mosaic.listVolumes().map(({ mountedAt }) => mountedAt)).toEqual([[mountPoint], []]);
      const child = Bun.spawn(["sleep", "1000"], { cwd: mountPoint });
      const error = await expectError("BUSY", () => mosaic.unmountVolume("one", mountPoint));
      expect(error.details.holders).toContainEqual(
        expect.objectContaining({ kind: "process", pid: child.pid }),
      );
      child.kill();
      await child.exited;
      await mosaic.unmountVolume("one", mountPoint);
      run("rm", link);
    });

    // A pool has its metadata on a device of its own: test/guest/dmthin.test.ts.
    const testLayout =
      row.filesystem === "thin-pool" ? (_name: string, _run: () => Promise<void>) => {} : test;
    testLayout("the metadata is mounted, also read-only, and reserved by the layout", async () => {
      const config = bed.writeConfig("layout", ["layout:", "  fs: meta/data"]);
      await using mosaic = await openMosaic(config);
      const mountPoint = bed.makeMountPoint();
      expect((await expectError("NOT_FOUND", () => mosaic.mountMetadata(mountPoint))).message).toContain(
        "mkdir",
      );
      mkdirSync(join(bed.location, "meta/data"), { recursive: true });
      await mosaic.mountMetadata(mountPoint);
      writeFileSync(join(mountPoint, "vm.json"), "{}");
      expect(readFileSync(join(bed.location, "meta/data/vm.json"), "utf8")).toBe("{}");
      await mosaic.unmountMetadata(mountPoint);
      await mosaic.mountMetadata(mountPoint, { readOnly: true });
      expectReadOnly(mountPoint);
      await mosaic.unmountMetadata(mountPoint);
      for (const name of ["meta", "meta/data", "meta/data/vm"]) {
        expect(
          (await expectError("INVALID_ARGUMENT", () => mosaic.createVolume(name, FS))).message,
        ).toContain("reserved");
      }
      expect(mosaic.listVolumes()).toEqual([]);
    });

    test("a name that the map sends to another's place never reaches it", async () => {
      const config = bed.writeConfig("map", ["volumeMap: \\([a-z]\\)\\([a-z][a-z]\\)\\(.*\\) \\1/\\2/\\3"]);
      await using mosaic = await openMosaic(config);
      const mountPoint = bed.makeMountPoint();
      await mosaic.createVolume("orig", FS);
      expect(existsSync(join(bed.location, "o/ri/g"))).toBe(true);
      const before = snapshotTree(bed.location);
      const actions: (() => Promise<unknown>)[] = [
        () => mosaic.dropVolume("1orig"),
        () => mosaic.mountVolume("1orig", mountPoint),
      ];
      for (const action of actions) {
        expect((await expectError("NOT_FOUND", action)).details).toMatchObject({
          reason: "other-volume",
          owner: "orig",
        });
      }
      expect(
        (await expectError("ALREADY_EXISTS", () => mosaic.createVolume("1orig", FS))).details,
      ).toMatchObject({ owner: "orig" });
      expect(mosaic.haveVolume("1orig").exists).toBe(false);
      await expectError("INVALID_ARGUMENT", () => mosaic.createVolume("1", FS));
      expect(snapshotTree(bed.location)).toEqual(before);
      await mosaic.dropVolume("orig");
      expect(readdirSync(bed.location)).toEqual([]);
    });

    test("kinds and sizes that cannot be are refused before anything is made", async () => {
      const notes: string[] = [];
      await using mosaic = await openMosaic(bed.config, { notify: (line) => notes.push(line) });
      if (mosaic.info().limits.sizeIsRequired) {
        await expectError("INVALID_ARGUMENT", () => mosaic.createVolume("web", { kind: "fs" }));
        await expectError("INVALID_ARGUMENT", () =>
          mosaic.createVolume("web", { kind: "fs", sizeBytes: 1024 ** 2 }),
        );
        await expectError("INVALID_ARGUMENT", () =>
          mosaic.createVolume("web", { kind: "disk", sizeBytes: 1000001 }),
        );
        await mosaic.createVolume("web", FS);
        expect((await mosaic.statVolume("web")).virtualBytes).toBe(SIZE);
        expect(notes).toEqual([]);
      } else {
        await expectError("UNSUPPORTED", () => mosaic.createVolume("web", { kind: "disk", sizeBytes: SIZE }));
        await mosaic.createVolume("free", { kind: "fs" });
        expect(notes).toEqual([]);
        await mosaic.createVolume("web", FS);
        expect(notes).toEqual(
          row.features.includes("volsize") ? [] : [expect.stringContaining("16M is recorded, not enforced")],
        );
      }
    });

    test("creates of one name at the same time make one volume", async () => {
      await using mosaic = await openMosaic(bed.config);
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, () => mosaic.createVolume("group/web", FS)),
      );
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const result of results) {
        if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "ALREADY_EXISTS" });
      }
      expect(mosaic.listVolumes()).toHaveLength(1);
      await mosaic.dropVolume("group/web");
      expectEmpty(bed);
    });

    test("volumes made and dropped side by side do not disturb each other", async () => {
      await using mosaic = await openMosaic(bed.config);
      const names = Array.from({ length: 10 }, (_, index) => `group/sub/v${index}`);
      await Promise.all(names.map((name) => mosaic.createVolume(name, FS)));
      expect(mosaic.listVolumes()).toHaveLength(names.length);
      await Promise.all(names.map((name) => mosaic.dropVolume(name)));
      expectEmpty(bed);
    });
  });
}

function expectEmpty(bed: Bed): void {
  expect(readdirSync(bed.location).filter((name) => name !== "found")).toEqual([]);
  expect(listBedDevices(bed)).toEqual([]);
  expect(mountsBelow(bed.directory)).toEqual(bed.isPool ? [] : [bed.location]);
  expect(daemonsBelow(bed.location)).toEqual([]);
}

function expectReadOnly(mountPoint: string): void {
  expect(() => writeFileSync(join(mountPoint, "forbidden"), "")).toThrow("EROFS");
  const onTop = readOwnMounts()
    .filter((mount) => mount.mountPoint === mountPoint)
    .at(-1);
  expect(onTop?.readOnly).toBe(true);
}
