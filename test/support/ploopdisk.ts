import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatNew } from "../../src/backends/ploop/descriptortext.ts";
import { makeTables } from "../../src/backends/ploop/gpt.ts";
import { run } from "./beds.ts";

const FIXTURES = join(import.meta.dir, "../fixtures/ploop");
const MIB = 1024 ** 2;

/** Unpacks genuine disks into a directory; gives the path of the one with this name, such as "chain" or "damaged/eof". */
export function unpackDisk(name: string, directory: string): string {
  const [archive = "", inner] = name.split("/");
  const path = join(directory, inner ?? archive);
  run("tar", "-xJf", join(FIXTURES, `${archive}.tar.xz`), "-C", directory, "--no-same-owner", name);
  if (inner !== undefined) run("mv", join(directory, name), path);
  if (inner !== undefined) run("rmdir", join(directory, archive));
  return path;
}

/** Makes a disk by QEMU with what is in a raw file in its partition. */
export function makeRawDisk(path: string, raw: string): void {
  const { size } = statSync(raw);
  const sectors = size / 512 + 4096;
  const { head, tail } = makeTables(sectors, { start: 2048, sectors: size / 512 });
  const whole = Buffer.alloc(sectors * 512);
  head.copy(whole);
  readFileSync(raw).copy(whole, MIB);
  tail.copy(whole, whole.length - tail.length);
  mkdirSync(path);
  writeFileSync(`${path}.whole`, whole);
  run("qemu-img", "convert", "-f", "raw", "-O", "parallels", `${path}.whole`, join(path, "root.hds"));
  run("rm", `${path}.whole`);
  writeFileSync(join(path, "DiskDescriptor.xml"), formatNew(sectors, 2048));
}
