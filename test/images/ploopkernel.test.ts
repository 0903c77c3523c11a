import { afterEach, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MOCTL } from "../e2e/moctl.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";

// The engine `kernel` of disks of ploop. Kernels of OpenVZ are not to be had here, so a stand-in makes the block device:
// what is tested is what moctl tells ploop(8) to do, in which order, and what it makes of the device.

const STAND_IN = join(import.meta.dir, "../support/ploopstandin.sh");
const CLASSIC = join(import.meta.dir, "../e2e/classic.sh");

describeOnBed({ name: "ploop by a kernel", backend: "ploop", filesystem: "xfs" }, (bed) => {
  afterEach(() => clearBed(bed));

  test("the main job", () => {
    const work = join(bed.directory, "work");
    mkdirSync(work);
    const said = runOnHost(bed, `sh "$CLASSIC" basic "$MOCTL" "$CONFIG" "$LOCATION" "${work}"`);
    expect(said).toMatch(/^done: /m);
  });

  test("a clone has what its origin held, and a filesystem of its own", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      mo mount web "$MNT"
      echo data >"$MNT/file"
      mo umount web "$MNT"
      mo clone web copy
      for volume in web copy; do
        mo mount $volume "$MNT"
        cat "$MNT/file"
        findmnt -n -o UUID "$MNT"
        mo umount $volume "$MNT"
      done`,
    );
    const lines = said.trim().split("\n");
    expect([lines[0], lines[2]]).toEqual(["data", "data"]);
    expect(lines[1]).not.toBe(lines[3]);
  });

  test("a disk is mounted before its device is used, and unmounted when that is gone", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      mo mount web "$MNT"
      findmnt -n -o FSTYPE,OPTIONS "$MNT"
      echo data >"$MNT/file"
      mo umount web "$MNT"
      mo attach -o ro web
      mo detach web`,
    );
    expect(said).toContain("ext4");
    expect(said).toMatch(/^Device: \/dev\/loop\d+$/m);
    const disk = join(bed.location, "web/DiskDescriptor.xml");
    const building = expect.stringMatching(/^mount .*\/\.mosaic.*\/DiskDescriptor\.xml$/);
    const changes = listCalls(bed).filter((call) => !call.startsWith("info"));
    expect(changes).toEqual([
      building,
      expect.stringMatching(/^umount .*\/DiskDescriptor\.xml$/),
      `mount ${disk}`,
      `umount ${disk}`,
      `mount -r ${disk}`,
      `umount ${disk}`,
    ]);
  });

  test("both engines see the same disk", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      mo mount web "$MNT"
      echo kernel >"$MNT/file"
      mo umount web "$MNT"
      sed -i s/kernel/qemu/ "$CONFIG"
      mo mount web "$MNT"
      cat "$MNT/file"
      echo qemu >"$MNT/file"
      mo umount web "$MNT"
      sed -i s/qemu/kernel/ "$CONFIG"
      mo mount web "$MNT"
      cat "$MNT/file"
      mo umount web "$MNT"
      mo check`,
    );
    expect(said).toContain("kernel\nqemu\n");
    expect(said).toContain("problems: 0");
  });

  test("it grows out of use, becomes smaller as a copy, and says so in use", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      mo resize web 128M
      mo mount web "$MNT"
      stat -f -c %s "$MNT"
      mo resize web 256M 2>&1 || echo "status $?"
      mo umount web "$MNT"
      mo resize --shrink web 64M
      mo list --json`,
    );
    expect(said).toContain("does not grow in use");
    expect(said).toContain(`"sizeBytes":${64 * 1024 ** 2}`);
  });

  test("a disk that another program has mounted is BUSY, and stays mounted", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      ploop mount "$LOCATION/web/DiskDescriptor.xml"
      mo mount web "$MNT" 2>&1 || echo "status $?"
      ploop info -d "$LOCATION/web/DiskDescriptor.xml"
      ploop umount "$LOCATION/web/DiskDescriptor.xml"
      mo mount web "$MNT"
      mo umount web "$MNT"`,
    );
    expect(said).toContain("it is mounted already, as /dev/loop");
    expect(said).toContain("partition:");
  });

  test("what a killed run left, or somebody else unmounted, the next command ends", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      mo create fs other 64M
      disk="$LOCATION/web/DiskDescriptor.xml"
      mo mount web "$MNT"
      directory=$(dirname "$MOSAIC_RUN_DIR"/*/export/*/ploop)
      umount "$MNT"
      ploop info -d "$disk" | wc -l
      mo drop other
      ploop info -d "$disk" || echo "status $?"
      mkdir "$directory"
      printf %s "$disk" >"$directory/ploop"
      ploop mount "$disk"
      mo mount web "$MNT"
      mo umount web "$MNT"
      ploop info -d "$disk" || echo "status $?"`,
    );
    expect(said).toBe("2\nstatus 40\nstatus 40\n");
  });

  test("a program that fails changes nothing, and its words are told", () => {
    const said = runOnHost(
      bed,
      `mo create fs web 64M
      echo "mount $LOCATION/web" >"$STATE/fail"
      mo mount web "$MNT" 2>&1 || echo "status $?"
      rm "$STATE/fail"
      ls "$MOSAIC_RUN_DIR"/*/export/*/ploop 2>/dev/null | wc -l
      mo mount web "$MNT"
      mo umount web "$MNT"`,
    );
    expect(said).toContain("ploop");
    expect(said).toContain("\n0\n");
  });
});

/** Runs a script on a host that has ploop(8): in a mount namespace of its own, where the stand-in is among the programs. */
function runOnHost(bed: Bed, script: string): string {
  const [programs, state, mountPoint] = ["programs", "ploop-state", "ploop-mnt"].map((name) =>
    join(bed.directory, name),
  ) as [string, string, string];
  for (const path of [programs, state, mountPoint]) mkdirSync(path, { recursive: true });
  writeFileSync(join(programs, "ploop"), readFileSync(STAND_IN, "utf8").replace("@STATE@", state));
  chmodSync(join(programs, "ploop"), 0o755);
  const config = join(bed.directory, "kernel.mos");
  writeFileSync(config, `type: ploop\nlocation: ${bed.location}\nengine: kernel\n`);
  rmSync(join(state, "calls"), { force: true });
  const head = `set -eu
    mount -t overlay -o lowerdir=${programs}:/usr/sbin overlay /usr/sbin
    mo() { "$MOCTL" "$CONFIG" "$@"; }
    export MOCTL=${MOCTL} CONFIG=${config} LOCATION=${bed.location} MNT=${mountPoint} CLASSIC=${CLASSIC} STATE=${state}\n`;
  const said = run("unshare", "-m", "bash", "-c", head + script);
  // Nothing is shown any more.
  expect([...new Bun.Glob("*.device").scanSync(state)]).toEqual([]);
  return said;
}

function listCalls(bed: Bed): string[] {
  const calls = join(bed.directory, "ploop-state/calls");
  return existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : [];
}
