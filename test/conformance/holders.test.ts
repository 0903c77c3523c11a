import { afterEach, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { Holders } from "../e2e/holders.ts";
import { ALL_BEDS, type Bed, daemonsBelow, describeOnBed, hasImages, run } from "../support/beds.ts";
import { listBedDevices } from "../support/devices.ts";
import { until } from "../support/expect.ts";
import { makeFilled } from "../support/filled.ts";
import { clearBed } from "../support/foreign.ts";

// Who holds a volume, as info and list say it, compared with what findmnt, losetup and the kernel's files say.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearBed(bed);
    });
    test("holders are those of findmnt, losetup and /proc", () => compareHolders(bed, holders));
  });
}

async function compareHolders(bed: Bed, processes: Holders): Promise<void> {
  await using mosaic = await openMosaic(bed.config);
  const { backend } = bed.row;
  const path = await makeFilled(bed, mosaic, "web", 1);
  const [first, second] = [bed.makeMountPoint(), bed.makeMountPoint()];
  await mosaic.mountVolume("web", first);
  await mosaic.mountVolume("web", second, { readOnly: true });
  const device = mosaic.info().features.includes("bdev") ? await mosaic.attachVolume("web") : undefined;
  const pid = await processes.hold('exec 7<"$1"', device ?? join(path, "data-1"));
  // The shell becomes another program when it has said that it is ready.
  await until("sleep", () => readFileSync(`/proc/${pid}/comm`, "utf8") === "sleep\n");
  const { holders, mountedAt, attachedAs } = await mosaic.statVolume("web");
  expect(attachedAs).toBe(device ?? null);
  expect(mountedAt).toEqual(listTargets(bed, path, device));
  const mounts = holders.flatMap((holder) => (holder.kind === "mount" ? [holder] : []));
  expect(mounts.map((mount) => [mount.path, mount.readOnly])).toEqual([
    [first, false],
    [second, true],
  ]);
  for (const mount of mounts) {
    expect(mount.namespace).toBe(readlinkSync("/proc/self/ns/mnt"));
    expect(readFileSync(`/proc/${mount.pid}/mountinfo`, "utf8")).toContain(` ${mount.path} `);
  }
  const opened = holders.flatMap((holder) => (holder.kind === "process" ? [holder] : []));
  expect(opened).toEqual([
    {
      kind: "process",
      pid,
      command: readFileSync(`/proc/${pid}/comm`, "utf8").trim(),
      path: readlinkSync(`/proc/${pid}/fd/7`),
    },
  ]);
  const devices = holders.flatMap((holder) => (holder.kind === "device" ? [holder.device] : []));
  const shown = ["qcow2", "ploop"].includes(backend) ? (daemonsBelow(bed.location)[0]?.path ?? "") : path;
  const listed = run("losetup", "-n", "-O", "NAME", "-j", shown).split("\n").filter(Boolean);
  expect(devices).toEqual(bed.isPool ? listBedDevices(bed) : hasImages(bed.row) ? listed : []);
  expect(holders).toHaveLength(mounts.length + opened.length + devices.length);
}

/** Where findmnt shows the volume. */
function listTargets(bed: Bed, path: string, device: string | undefined): string[] {
  const name = path.slice(bed.location.length);
  return run("findmnt", "-n", "--raw", "-o", "TARGET,SOURCE")
    .split("\n")
    .filter((line) => line.startsWith(`${bed.directory}/mnt`))
    .filter((line) => (device === undefined ? line.endsWith(`[${name}]`) : line.endsWith(` ${device}`)))
    .map((line) => line.split(" ")[0] ?? "");
}
