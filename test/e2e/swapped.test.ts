import { afterEach, expect, test } from "bun:test";
import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, BEDS, type Bed, describeOnBed, needsSize, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { createFs, expectRefusal, expectSame, moctl, requireRefusal, succeed, succeedJson } from "./moctl.ts";
import { takePicture } from "./picture.ts";

// Somebody changes the storage behind mosaic's back: links, devices and copies in a volume's place are never touched.

const RECORD = "trusted.mosaic.volume";
const stored = (bed: Bed) => join(bed.location, "a/web");

/** What may come to lie in the place of a volume; `secret` is a file outside. */
const SWAPS: Record<string, (path: string, secret: string) => void> = {
  "a symbolic link": (path, secret) => symlinkSync(secret, path),
  "a symbolic link to a directory": (path, secret) => symlinkSync(join(secret, ".."), path),
  "a dangling link": (path) => symlinkSync("/missing", path),
  "a hard link": (path, secret) => linkSync(secret, path),
  "a FIFO": (path) => void run("mkfifo", path),
  "a character device": (path) => void run("mknod", path, "c", "1", "3"),
  "a block device": (path) => void run("mknod", path, "b", "7", "0"),
};

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    for (const [what, swap] of Object.entries(SWAPS))
      test(`${what} in the place of a volume is foreign, and untouched`, () => refuseSwapped(bed, swap));
    test("a link in the place of a parent leads nowhere", () => refuseSwappedParent(bed));
    test("a record on what cannot be a volume is DAMAGED", () => refuseDamaged(bed));
    test("a .mosaic that is not a private directory of root's is DAMAGED", () => refuseWorkDirectory(bed));
  });
}

describeOnBed(BEDS.loop[0], (bed) => {
  afterEach(() => clearBed(bed));
  test("an attached image that was renamed is not taken for another", () => followRenamed(bed));
  test("an attached image that was replaced is not taken for the new one", () => followReplaced(bed));
  test("an attached image that was deleted holds nobody up", () => followDeleted(bed));
  test("an image with a qcow2 header is raw all the same", () => stayRaw(bed));
});

function listUses(bed: Bed, mountPoint: string): string[][] {
  return [
    ["drop", "a/web"],
    ["mount", "a/web", mountPoint],
    ["umount", "a/web", mountPoint],
    ...(bed.row.backend === "loop"
      ? [
          ["attach", "a/web"],
          ["detach", "a/web"],
        ]
      : []),
    ...(bed.row.filesystem === "ext4" ? [] : [["clone", "a/web", "copy"]]),
  ];
}

function refuseSwapped(bed: Bed, swap: (path: string, secret: string) => void): void {
  const mountPoint = bed.makeMountPoint();
  mkdirSync(join(bed.location, "secrets"));
  const secret = join(bed.location, "secrets/shadow");
  writeFileSync(secret, "root:secret", { mode: 0o600 });
  createFs(bed, "a/web");
  renameSync(stored(bed), join(bed.location, "aside"));
  swap(stored(bed), secret);
  const before = takePicture(bed.directory);
  for (const args of listUses(bed, mountPoint)) {
    const run = (more: readonly string[]) => moctl([...more, bed.config, ...args]);
    const { details } = requireRefusal(run, { exit: 3, code: "NOT_FOUND", says: /foreign/ }, args);
    expect(details.reason).toBe("foreign");
  }
  const taken = { exit: 4, code: "ALREADY_EXISTS", says: /no volume/ };
  const size = needsSize(bed.row) ? ["16m"] : [];
  expectRefusal(bed.directory, [bed.config, "create", "fs", "a/web", ...size], taken);
  expect([3, 8]).toContain(moctl([bed.config, "adopt", "fs", "a/web"]).exit ?? -1);
  expect(succeedJson(bed.config, "have", "a/web")).toMatchObject({ exists: false });
  expect(succeedJson(bed.config, "list")).toEqual({ volumes: [] });
  expectSame(bed.directory, before);
}

function refuseSwappedParent(bed: Bed): void {
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "a/web");
  renameSync(join(bed.location, "a"), join(bed.location, "elsewhere"));
  symlinkSync("elsewhere", join(bed.location, "a"));
  const before = takePicture(bed.directory, false);
  for (const args of listUses(bed, mountPoint))
    requireRefusal((more) => moctl([...more, bed.config, ...args]), { exit: 3, code: "NOT_FOUND" }, args);
  const size = needsSize(bed.row) ? ["16m"] : [];
  for (const name of ["a/web", "a/new"]) {
    const refusal = { exit: 4, code: "ALREADY_EXISTS", times: false };
    expectRefusal(bed.directory, [bed.config, "create", "fs", name, ...size], refusal);
  }
  expect(takePicture(bed.directory, false)).toEqual(before);
  unlinkSync(join(bed.location, "a"));
}

function refuseDamaged(bed: Bed): void {
  const mountPoint = bed.makeMountPoint();
  createFs(bed, "a/web");
  const record = run("getfattr", "--only-values", "-n", RECORD, stored(bed));
  renameSync(stored(bed), join(bed.location, "aside"));
  if (["plain", "ploop"].includes(bed.row.backend)) writeFileSync(stored(bed), "a file");
  else mkdirSync(stored(bed));
  run("setfattr", "-n", RECORD, "-v", record, stored(bed));
  for (const args of [...listUses(bed, mountPoint), ["have", "a/web"]]) {
    const { details } = expectRefusal(bed.directory, [bed.config, ...args], {
      exit: 10,
      code: "DAMAGED",
      says: "record",
    });
    expect(details.record).toMatchObject({ name: "a/web" });
  }
}

function refuseWorkDirectory(bed: Bed): void {
  createFs(bed, "a/web");
  const work = join(bed.location, ".mosaic");
  const size = needsSize(bed.row) ? ["16m"] : [];
  const makers: [string, () => void][] = [
    ["a link", () => symlinkSync("/tmp", work)],
    ["a file", () => writeFileSync(work, "")],
    ["open to others", () => void run("mkdir", "-m", "755", work)],
    ["somebody's", () => void run("install", "-d", "-m", "700", "-o", "65534", work)],
  ];
  for (const [what, make] of makers) {
    make();
    for (const args of [
      ["drop", "a/web"],
      ["create", "fs", "new", ...size],
    ]) {
      const refusal = { exit: 10, code: "DAMAGED", says: ".mosaic" };
      expect({
        what,
        path: expectRefusal(bed.directory, [bed.config, ...args], refusal).details.path,
      }).toEqual({ what, path: work });
    }
    expect(succeed(bed.config, "list")).toContain("a/web");
    rmSync(work, { recursive: true });
  }
}

function attach(bed: Bed): string {
  return String(succeedJson(bed.config, "attach", "a/web").device);
}

const imageOf = (device: string) => run("losetup", "-n", "-O", "BACK-FILE", device).trim();

function followRenamed(bed: Bed): void {
  createFs(bed, "a/web");
  const device = attach(bed);
  renameSync(stored(bed), `${stored(bed)}2`);
  const refusal = { exit: 3, code: "NOT_FOUND" };
  expectRefusal(bed.directory, [bed.config, "detach", "a/web"], refusal);
  expectRefusal(bed.directory, [bed.config, "detach", "a/web2"], { ...refusal, says: "copy" });
  createFs(bed, "a/web");
  expect(succeedJson(bed.config, "list").volumes).toMatchObject([{ name: "a/web", attachedAs: null }]);
  succeed(bed.config, "drop", "a/web");
  expect(imageOf(device)).toBe(`${stored(bed)}2`);
  renameSync(`${stored(bed)}2`, stored(bed));
  succeed(bed.config, "detach", "a/web");
  expect(run("losetup", "-n", "-j", stored(bed))).toBe("");
}

function followReplaced(bed: Bed): void {
  createFs(bed, "a/web");
  const device = attach(bed);
  renameSync(stored(bed), join(bed.location, "old"));
  run("cp", "-a", join(bed.location, "old"), stored(bed));
  expectRefusal(bed.directory, [bed.config, "detach", "a/web"], {
    exit: 3,
    code: "NOT_FOUND",
    says: "not attached",
  });
  const second = attach(bed);
  expect(second).not.toBe(device);
  succeed(bed.config, "detach", "a/web");
  expect(imageOf(device)).toBe(join(bed.location, "old"));
  run("losetup", "-d", device);
}

function followDeleted(bed: Bed): void {
  createFs(bed, "a/web");
  const device = attach(bed);
  rmSync(stored(bed));
  expectRefusal(bed.directory, [bed.config, "detach", "a/web"], { exit: 3, code: "NOT_FOUND" });
  createFs(bed, "a/web");
  expect(succeedJson(bed.config, "list").volumes).toMatchObject([{ name: "a/web", attachedAs: null }]);
  const second = attach(bed);
  expect(second).not.toBe(device);
  succeed(bed.config, "detach", "a/web");
  succeed(bed.config, "drop", "a/web");
  expect(imageOf(device)).toContain("(deleted)");
  run("losetup", "-d", device);
}

function stayRaw(bed: Bed): void {
  expect(succeed(bed.config, "create", "disk", "a/web", "16m")).toBe("");
  const header = Buffer.alloc(104);
  header.write("QFI\xfb", "latin1");
  header.writeUInt32BE(3, 4);
  header.writeBigUInt64BE(1n << 40n, 24);
  writeFileSync(attach(bed), header, { flag: "r+" });
  succeed(bed.config, "detach", "a/web");
  const device = attach(bed);
  expect(run("blockdev", "--getsize64", device)).toBe(`${16 * 1024 ** 2}\n`);
  expect(readFileSync(device).subarray(0, 104)).toEqual(header);
  expect(succeedJson(bed.config, "list").volumes).toMatchObject([
    { kind: "disk", sizeBytes: 16 * 1024 ** 2 },
  ]);
  succeed(bed.config, "detach", "a/web");
  expect(statSync(stored(bed)).size).toBe(16 * 1024 ** 2);
  succeed(bed.config, "drop", "a/web");
}
