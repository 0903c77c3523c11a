import { afterEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, BEDS, type Bed, describeOnBed, needsSize } from "../support/beds.ts";
import { clearBed, makeForeign } from "../support/foreign.ts";
import { createFs, expectRefusal, expectRefusalOf, moctl, succeed, succeedJson } from "./moctl.ts";
import { insideNamespace } from "./namespaces.ts";

// What people and scripts see of every action: the lines of old, one JSON object, the exit status.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    const features = row.features.map((feature) => ` ${feature}`).join("");
    test("the lines of old, and nothing else, are printed", () => expectOldOutput(bed, features));
    test("--json is one object for every action", () => expectJson(bed, features));
  });
}

function expectOldOutput(bed: Bed, features: string): void {
  const [config, mountPoint] = [bed.config, bed.makeMountPoint()];
  expect(succeed(config, "i")).toStartWith(`features:${features}\ntype: ${bed.row.backend}\n`);
  expect(succeed(config, "h", "web")).toBe("web exists: no\n");
  createFs(bed, "web", "c");
  expect(succeed(config, "h", "web")).toBe("web exists: yes\n");
  expect(succeed(config, "m", "web", mountPoint)).toBe("");
  expect(succeed(config, "u", "web", mountPoint)).toBe("");
  for (const args of [
    ["-o", "ro", "web", mountPoint],
    ["web", "-o", "ro", mountPoint],
    ["web", mountPoint, "-o", "ro"],
  ]) {
    expect(succeed(config, "m", ...args)).toBe("");
    expect(moctl([config, "list", "--json"]).stdout).toContain(`"mountedAt":["${mountPoint}"]`);
    expect(() => writeFileSync(join(mountPoint, "x"), "")).toThrow("EROFS");
    expect(succeed("--wait", "5", config, "u", "--", "web", mountPoint)).toBe("");
  }
  if (features.includes("bdev")) expectOldDeviceLines(bed);
  if (features.includes("clone")) {
    expect(succeed(config, "cl", "web", "copy")).toBe("");
    expect(succeed(config, "dr", "copy")).toBe("");
  }
  expect(succeed(config, "dr", "web")).toBe("");
  expect(succeed(config, "l")).toBe("");
}

function expectOldDeviceLines({ config, directory }: Bed): void {
  const line = succeed(config, "a", "web");
  expect(line).toMatch(/^Device: \/dev\/loop\d+\n$/);
  const device = line.slice("Device: ".length, -1);
  expectRefusal(directory, [config, "a", "web"], { exit: 5, code: "BUSY", says: device });
  expect(succeed(config, "d", "web")).toBe("");
  expectRefusal(directory, [config, "d", "web"], {
    exit: 3,
    code: "NOT_FOUND",
    says: "not attached",
  });
}

function expectJson(bed: Bed, features: string): void {
  const [config, mountPoint] = [bed.config, bed.makeMountPoint()];
  const size = needsSize(bed.row) ? ["16m"] : [];
  const made = succeedJson(config, "create", "fs", "web", ...size);
  expect(made).toMatchObject({ name: "web", kind: "fs", backend: bed.row.backend });
  expect(succeedJson(config, "have", "web")).toEqual({ name: "web", exists: true, foreign: null });
  const info = succeedJson(config, "info");
  expect(info).toMatchObject({ name: "bed", type: bed.row.backend, location: bed.location });
  expect((info.features as string[]).map((feature) => ` ${feature}`).join("")).toBe(features);
  expect(succeedJson(config, "mount", "web", mountPoint)).toEqual({
    volume: "web",
    mountPoint,
    readOnly: false,
  });
  expect(succeedJson(config, "list").volumes).toEqual([
    { ...made, parent: null, attachedAs: null, mountedAt: [mountPoint] },
  ]);
  expect(succeedJson(config, "umount", "web", mountPoint)).toEqual({ volume: "web", mountPoint });
  if (features.includes("bdev")) {
    const attached = succeedJson(config, "attach", "web");
    expect(attached).toEqual({ volume: "web", device: expect.stringMatching(/^\/dev\/loop\d+$/) });
    expect(succeedJson(config, "detach", "web")).toEqual({ volume: "web" });
  }
  if (features.includes("clone"))
    expect(succeedJson(config, "clone", "web", "copy")).toMatchObject({ name: "copy", parentId: made.id });
  makeForeign(bed, "old");
  expect(succeedJson(config, "adopt", "fs", "old")).toMatchObject({ name: "old", kind: "fs" });
  expect(succeedJson(config, "drop", "web")).toEqual({ volume: "web" });
}

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));
  test("every error has its exit status", () => expectExitStatuses(bed));
});

function expectExitStatuses(bed: Bed): void {
  const { config } = bed;
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "web");
  succeed(config, "mount", "web", mountPoint);
  const rows: [string[], number, string, RegExp][] = [
    [["create", "fs", "../x", "16m"], 2, "INVALID_ARGUMENT", /"\.\."/],
    [["drop", "none"], 3, "NOT_FOUND", /no volume "none"/],
    [["create", "disk", "web", "16m"], 4, "ALREADY_EXISTS", /there is a volume "web" already/],
    [["mount", "web", join(bed.directory, "none")], 3, "NOT_FOUND", /mkdir/],
    [["drop", "web"], 5, "BUSY", /mounted at ".*mnt/],
  ];
  for (const [args, exit, code, says] of rows)
    expectRefusal(bed.directory, [config, ...args], { exit, code, says, times: false });
  succeed(config, "umount", "web", mountPoint);
  for (const [args, exit, code, says] of rows.slice(0, 4))
    expectRefusal(bed.directory, [config, ...args], { exit, code, says });
  const failing = "mount --bind /bin/false /usr/sbin/mkfs.ext4";
  const missing = "mount --bind /dev/null /usr/sbin/mkfs.ext4";
  const create = [config, "create", "fs", "new", "16m"];
  for (const [setup, exit, code, says] of [
    [failing, 1, "TOOL_FAILED", "mkfs.ext4 failed with exit code 1"],
    [missing, 9, "UNAVAILABLE", "install the package e2fsprogs"],
  ] as const)
    expectRefusalOf((more) => insideNamespace(setup, [...more, ...create]), bed.directory, {
      exit,
      code,
      says,
      times: false,
    });
}
