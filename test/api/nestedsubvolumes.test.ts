import { afterEach, expect, test } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/api/open.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

describeOnBed(
  { name: "nested subvolumes", backend: "btrfs", filesystem: "btrfs" },
  testNested,
  256 * 1024 ** 2,
);

/** A guest that may make subvolumes leaves them inside its volume. */
function testNested(bed: Bed): void {
  const at = (name: string) => join(bed.location, name);
  const makeSubvolume = (name: string) => run("btrfs", "-q", "subvolume", "create", at(name));
  const makeReadOnly = (name: string) =>
    run("btrfs", "property", "set", "-t", "subvol", at(name), "ro", "true");

  afterEach(() => {
    const subvolumes = [bed.location, "-mindepth", "1", "-depth", "-type", "d", "-inum", "256"];
    run("find", ...subvolumes, "-exec", "btrfs", "property", "set", "-t", "subvol", "{}", "ro", "false", ";");
    run("find", ...subvolumes, "-exec", "btrfs", "-q", "subvolume", "delete", "{}", ";");
    for (const name of readdirSync(bed.location)) rmSync(at(name), { recursive: true });
  });

  async function expectDropped(name: string): Promise<void> {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.dropVolume(name);
    expect(readdirSync(bed.location)).toEqual([]);
    expect(run("btrfs", "subvolume", "list", bed.location)).toBe("");
  }

  test("a drop takes those inside along, also read-only ones", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "fs" });
    for (const name of ["web/a", "web/a/b", "web/a/b/c", "web/d"]) makeSubvolume(name);
    writeFileSync(at("web/a/b/c/file"), "");
    for (const name of ["web/a/b/c", "web/d"]) makeReadOnly(name);
    await expectDropped("web");
  });

  test("a drop takes along what lies inside a read-only one", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "fs" });
    for (const name of ["web/a", "web/a/b"]) makeSubvolume(name);
    makeReadOnly("web/a");
    await expectDropped("web");
  });

  test("a drop takes along those whose names are no text, also read-only ones", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "fs" });
    const script = `set -e; name=$(printf 'x\\377y'); cd "$0"
      for path in "$name" "$name/text" "$name/$name" other; do btrfs -q subvolume create "$path"; done
      for path in "$name/$name" "$name" other; do btrfs property set -t subvol "$path" ro true; done`;
    run("sh", "-c", script, at("web"));
    await expectDropped("web");
  });

  test("a clone of a volume with others inside is refused, and names them", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "fs" });
    makeSubvolume("web/inner");
    await expect(mosaic.cloneVolume("web", "copy")).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining(at("web/inner")),
      details: expect.objectContaining({ nested: [at("web/inner")] }),
    });
    expect(readdirSync(bed.location)).toEqual(["web"]);
    await expectDropped("web");
  });

  test("a read-only volume is dropped, and stays read-only when it cannot be", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("web", { kind: "fs" });
    makeReadOnly("web");
    const target = bed.makeMountPoint();
    await mosaic.mountVolume("web", target, { readOnly: true });
    await expect(mosaic.dropVolume("web")).rejects.toMatchObject({ code: "BUSY" });
    expect(run("btrfs", "property", "get", "-t", "subvol", at("web"), "ro")).toBe("ro=true\n");
    await mosaic.unmountVolume("web", target);
    await expectDropped("web");
  });
}
