import { expect, test } from "bun:test";
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { measureSharedBytes } from "../../src/system/fiemap.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { until } from "../support/expect.ts";

// The bytes of a file that others share, compared with filefrag(8) and with what was written.

const BLOCK = 4096;
/** More extents than one call of the kernel gives. */
const EXTENTS = 1300;

for (const filesystem of ["xfs", "btrfs"] as const)
  describeOnBed({ name: `shared blocks on ${filesystem}`, backend: "loop", filesystem }, testSharing);

describeOnBed({ name: "no shared blocks on ext4", backend: "loop", filesystem: "ext4" }, testAlone);

/** Writes blocks into every second place of a file, of which each becomes an extent. */
function writeScattered(path: string, step = 1): void {
  const fd = openSync(path, "a+");
  closeSync(fd);
  const file = openSync(path, "r+");
  try {
    ftruncateSync(file, EXTENTS * 2 * BLOCK);
    const block = Buffer.alloc(BLOCK, step);
    for (let index = 0; index < EXTENTS; index += step) writeSync(file, block, 0, BLOCK, index * 2 * BLOCK);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

async function measure(path: string): Promise<number> {
  const fd = openSync(path, "r");
  try {
    return await measureSharedBytes(fd, path);
  } finally {
    closeSync(fd);
  }
}

function readFilefrag(path: string): { extents: number; sharedBytes: number } {
  const rows = run("filefrag", "-v", `-b${BLOCK}`, path)
    .split("\n")
    .filter((line) => /^\s*\d+:/.test(line));
  const shared = rows.filter((line) => /\bshared\b/.test(line));
  const sum = shared.reduce((blocks, line) => blocks + Number(line.split(":")[3]), 0);
  return { extents: rows.length, sharedBytes: sum * BLOCK };
}

function testSharing(bed: Bed): void {
  const at = (name: string) => join(bed.location, name);

  test("are counted over all extents, as they become fewer", async () => {
    writeScattered(at("file"));
    expect([await measure(at("file")), readFilefrag(at("file")).sharedBytes]).toEqual([0, 0]);
    expect(readFilefrag(at("file")).extents).toBeGreaterThan(1024);
    run("cp", "--reflink=always", at("file"), at("copy"));
    for (const name of ["file", "copy"]) {
      expect(await measure(at(name))).toBe(EXTENTS * BLOCK);
      expect(readFilefrag(at(name)).sharedBytes).toBe(EXTENTS * BLOCK);
    }
    writeScattered(at("copy"), 3);
    const left = (EXTENTS - Math.ceil(EXTENTS / 3)) * BLOCK;
    for (const name of ["file", "copy"]) {
      expect(await measure(at(name))).toBe(left);
      expect(readFilefrag(at(name)).sharedBytes).toBe(left);
    }
    rmSync(at("copy"));
    // XFS frees the blocks of a removed file a moment later.
    await until("the copy to go", () => readFilefrag(at("file")).sharedBytes === 0);
    expect(await measure(at("file"))).toBe(0);
  });

  test("are none in an empty file and in one that is all hole", async () => {
    run("truncate", "-s", "0", at("empty"));
    run("truncate", "-s", "1G", at("hole"));
    run("cp", "--reflink=always", at("hole"), at("other"));
    for (const name of ["empty", "hole", "other"]) expect(await measure(at(name))).toBe(0);
  });

  test("of what was just written, and is not on the disk yet", async () => {
    run("dd", "if=/dev/urandom", `of=${at("fresh")}`, "bs=1M", "count=2", "status=none");
    run("cp", "--reflink=always", at("fresh"), at("fresh-copy"));
    expect(await measure(at("fresh"))).toBe(2 * 1024 ** 2);
  });
}

function testAlone(bed: Bed): void {
  test("nor where a filesystem has no map of extents", async () => {
    writeScattered(join(bed.location, "file"));
    expect(await measure(join(bed.location, "file"))).toBe(0);
    const memory = join(bed.directory, "memory");
    mkdirSync(memory);
    run("mount", "-t", "tmpfs", "none", memory);
    writeScattered(join(memory, "file"));
    expect(Bun.spawnSync(["filefrag", join(memory, "file")]).exitCode).not.toBe(0);
    expect(await measure(join(memory, "file"))).toBe(0);
    run("umount", memory);
  });
}
