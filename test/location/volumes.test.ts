import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import type { Form } from "../../src/location/form.ts";
import { type Location, openLocation } from "../../src/location/location.ts";
import { PARENT_ATTRIBUTE } from "../../src/location/parents.ts";
import { formatRecord, RECORD_ATTRIBUTE, type VolumeRecord } from "../../src/location/record.ts";
import { findVolume, listVolumes } from "../../src/location/volumes.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

describeOnBed({ name: "finding volumes", backend: "loop", filesystem: "xfs" }, testFinding);

/** Volumes as files, like images. */
const form: Form = {
  backend: "test",
  description: "a file",
  matches: (status) => status.isFile(),
  holders: async () => [],
  remove: async () => {},
};

function testFinding(bed: Bed): void {
  let location: Location;
  const at = (name: string) => join(location.path, name);
  const find = (name: string) => findVolume(location, form, parseStoredName(name));
  const list = () => [...listVolumes(location, form)].map((record) => record.name as string);
  const addressOf = (name: string, storedName = name) => ({
    name: parseVolumeName(name),
    storedName: parseStoredName(storedName),
  });

  beforeEach(() => {
    location = openLocation(mkdtempSync(join(bed.location, "location-")), {
      requireMount: false,
      layoutPath: "meta",
    });
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

  test("a volume is what has a record for its place and the form of its backend", () => {
    const record = makeVolume("a/b/web", "x/web");
    expect(find("x/web")).toEqual({ state: "volume", record });
  });

  test.each(["none", "none/below", "file/below"])("nothing is absent: %s", (name) => {
    writeFileSync(at("file"), "");
    expect(find(name)).toEqual({ state: "absent" });
  });

  describe("foreign is", () => {
    const MAKE: readonly [what: string, make: (path: string) => unknown, why: string][] = [
      ["a file without a record", (path) => writeFileSync(path, ""), "it has no record"],
      ["a directory without one", (path) => mkdirSync(path), "it has no record"],
      [
        "a link to a volume",
        (path) => symlinkSync(at("volume"), path),
        "it is neither a file nor a directory",
      ],
      [
        "a link that leads nowhere",
        (path) => symlinkSync("none", path),
        "it is neither a file nor a directory",
      ],
      ["a FIFO", (path) => run("mkfifo", path), "it is neither a file nor a directory"],
      ["a device", (path) => run("mknod", path, "c", "1", "5"), "it is neither a file nor a directory"],
      [
        "a copy with its record",
        (path) => run("cp", "-a", at("volume"), path),
        "its record is of another volume, so it is a copy",
      ],
      [
        "a record that is none",
        (path) =>
          run(
            "sh",
            "-c",
            `cp -a ${at("volume")} ${path} && setfattr -n trusted.mosaic.volume -v junk ${path}`,
          ),
        "its record cannot be read: it is damaged, or of a later version",
      ],
      [
        "a second name of a volume",
        (path) => run("ln", at("volume"), path),
        "its record is of another volume, so it is a copy",
      ],
    ];
    test.each(MAKE)("%s", (_what, make, why) => {
      makeVolume("volume");
      make(at("foreign"));
      expect(find("foreign")).toMatchObject({ state: "foreign", why });
      expect(list()).not.toContain("foreign");
    });

    test("what is behind a link", () => {
      makeVolume("dir/volume");
      symlinkSync("dir", at("link"));
      expect(find("link/volume")).toEqual({
        state: "foreign",
        why: "a symbolic link is in the way",
        isAdoptable: false,
      });
    });

    test("what is behind another mount", () => {
      makeVolume("dir/volume");
      mkdirSync(at("onto"));
      run("mount", "--bind", at("dir"), at("onto"));
      expect(find("onto/volume")).toEqual({
        state: "foreign",
        why: "another filesystem is mounted there",
        isAdoptable: false,
      });
      expect(find("onto")).toEqual({
        state: "foreign",
        why: "another filesystem is mounted there",
        isAdoptable: false,
      });
      run("umount", at("onto"));
    });

    test("a directory that holds volumes", () => {
      makeVolume("dir/volume");
      run("setfattr", "-n", PARENT_ATTRIBUTE, "-v", "found", at("dir"));
      expect(find("dir")).toEqual({
        state: "foreign",
        why: "it is a directory that holds volumes",
        isAdoptable: false,
      });
    });

    test.each<[string, (record: VolumeRecord) => object | string]>([
      ["another backend", (record) => ({ version: 1, ...record, backend: "plain" })],
      ["another place", (record) => ({ version: 1, ...record, storedName: "elsewhere" })],
      ["a later version", (record) => ({ ...record, version: 2 })],
      ["no record at all", () => "junk"],
      ["more than any record", (record) => formatRecord(record) + " ".repeat(10_000)],
    ])("what has the record of %s", (_what, change) => {
      setRecord(at("web"), change(makeVolume("web")));
      makeVolume("other");
      expect(find("web")).toMatchObject({ state: "foreign" });
      expect(list()).toEqual(["other"]);
    });

    test("an image with a second name, also under its own", () => {
      makeVolume("web");
      run("ln", at("web"), join(location.path, ".elsewhere"));
      expect(find("web")).toEqual({
        state: "foreign",
        why: "its image has several hard links",
        isAdoptable: false,
      });
    });

    test("what is foreign to all others in the list too", () => {
      makeVolume("web");
      run("ln", at("web"), join(location.path, ".elsewhere"));
      expect(list()).toEqual([]);
    });
  });

  test("a record on an object of another form is DAMAGED, and both sides are shown", () => {
    mkdirSync(at("web"));
    setRecord(at("web"), formatRecord(recordOf("web")));
    expect(() => find("web")).toThrow(
      expect.objectContaining({
        code: "DAMAGED",
        message: expect.stringContaining('the record of "web" says it is a file, but it is not'),
        details: expect.objectContaining({ name: "web", recorded: "a file" }),
      }),
    );
  });

  test("the list has all volumes in the order of their names, and looks only into what holds volumes", () => {
    for (const name of ["b", "a", "dir/z", "dir/y", "dir/sub/x", "unmarked/hidden", "meta/reserved"])
      makeVolume(name);
    for (const path of ["dir", "dir/sub", "meta"])
      run("setfattr", "-n", PARENT_ATTRIBUTE, "-v", "made", at(path));
    writeFileSync(at("foreign"), "");
    symlinkSync("dir", at("link"));
    mkdirSync(at(".mosaic"));
    expect(list()).toEqual(["a", "b", "dir/sub/x", "dir/y", "dir/z"]);
  });
}
