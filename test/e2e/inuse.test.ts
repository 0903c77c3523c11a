import { afterEach, expect, test } from "bun:test";
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ALL_BEDS, type Bed, daemonsBelow, describeOnBed, run } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { Holders } from "./holders.ts";
import { createFs, expectRefusal, MOCTL, succeed } from "./moctl.ts";

// A volume that anybody uses, anywhere, is not dropped: the answer names who it is, and the data stays.

/** A way to hold the volume "web", in which a file lies; gives where its data is to be seen, and what the refusal names. */
interface Hold {
  readonly what: string;
  readonly on?: (bed: Bed) => boolean;
  readonly take: (bed: Bed, holders: Holders) => Promise<{ data?: string; names: string[] }>;
  /** More than the end of the holding processes. */
  readonly release?: (bed: Bed) => void;
}

const isLoop = (bed: Bed) => bed.row.backend === "loop";
const isDirectory = (bed: Bed) => !["loop", "qcow2"].includes(bed.row.backend);
const here = (bed: Bed) => join(bed.directory, "here");
const there = (bed: Bed) => join(bed.directory, "there");
const stored = (bed: Bed) => join(bed.location, "web");

const HOLDS: readonly Hold[] = [
  {
    what: "mounted",
    async take(bed) {
      succeed(bed.config, "mount", "web", here(bed));
      return { data: here(bed), names: [here(bed)] };
    },
    release: (bed) => void succeed(bed.config, "umount", "web", here(bed)),
  },
  {
    what: "mounted by bind elsewhere",
    async take(bed) {
      succeed(bed.config, "mount", "web", here(bed));
      run("mount", "--bind", here(bed), there(bed));
      succeed(bed.config, "umount", "web", here(bed));
      return { data: there(bed), names: [there(bed)] };
    },
    release: (bed) => void run("umount", there(bed)),
  },
  {
    what: "mounted in part",
    async take(bed) {
      succeed(bed.config, "mount", "web", here(bed));
      mkdirSync(join(here(bed), "inner"));
      run("mount", "--bind", join(here(bed), "inner"), there(bed));
      succeed(bed.config, "umount", "web", here(bed));
      return { names: [there(bed)] };
    },
    release: (bed) => void run("umount", there(bed)),
  },
  {
    what: "mounted by subvol=",
    on: (bed) => bed.row.backend === "btrfs",
    async take(bed) {
      const device = run("findmnt", "-n", "-o", "SOURCE", bed.location).trim();
      run("mount", "-o", "subvol=web", device, there(bed));
      return { data: there(bed), names: [there(bed)] };
    },
    release: (bed) => void run("umount", there(bed)),
  },
  {
    what: "mounted in another mount namespace",
    async take(bed, holders) {
      const pid = await holders.holdInNamespace('"$1" "$2" mount web "$3"', MOCTL, bed.config, there(bed));
      return { names: [there(bed), String(pid)] };
    },
    // A storage daemon that was started there keeps the namespace with its mounts alive.
    release(bed) {
      for (const { pid } of daemonsBelow(bed.location))
        run("nsenter", "-m", "-t", String(pid), "umount", there(bed));
    },
  },
  {
    what: "open in a process",
    async take(bed, holders) {
      const file = bed.row.backend === "ploop" ? "root.hds" : "data";
      const path = isDirectory(bed) ? join(stored(bed), file) : stored(bed);
      const pid = await holders.hold('exec 3<"$1"', path);
      return { names: [path, String(pid)] };
    },
  },
  {
    what: "the working directory of a process",
    on: isDirectory,
    async take(bed, holders) {
      const pid = await holders.hold('cd "$1"', stored(bed));
      return { names: [stored(bed), String(pid)] };
    },
  },
  {
    what: "with another filesystem mounted inside",
    on: isDirectory,
    async take(bed) {
      mkdirSync(join(stored(bed), "inner"));
      run("mount", "-t", "tmpfs", "none", join(stored(bed), "inner"));
      return { names: [join(stored(bed), "inner")] };
    },
    release: (bed) => void run("umount", join(stored(bed), "inner")),
  },
  {
    what: "attached",
    on: isLoop,
    take: async (bed) => ({ names: [attach(bed)] }),
    release: (bed) => void succeed(bed.config, "detach", "web"),
  },
  {
    what: "attached by losetup",
    on: isLoop,
    take: async (bed) => ({ names: [run("losetup", "--find", "--show", stored(bed)).trim()] }),
    release: (bed) => void run("losetup", "-d", run("losetup", "-n", "-O", "NAME", "-j", stored(bed)).trim()),
  },
];

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    const holders = new Holders();
    afterEach(async () => {
      await holders.release();
      clearBed(bed);
    });
    for (const hold of HOLDS.filter(({ on }) => on?.(bed) ?? true))
      test(`a volume that is ${hold.what} is not dropped`, () => refuseDrop(bed, hold, holders));
    if (isDirectory(bed))
      test("a volume whose program a process runs is not dropped", () => refuseDropOfProgram(bed, holders));
    if (row.backend === "loop") test("a device in use is not detached", () => refuseDetach(bed, holders));
  });
}

async function refuseDrop(bed: Bed, hold: Hold, holders: Holders): Promise<void> {
  for (const path of [here(bed), there(bed)]) mkdirSync(path, { recursive: true });
  createFs(bed, "web");
  succeed(bed.config, "mount", "web", here(bed));
  writeFileSync(join(here(bed), "data"), "precious");
  succeed(bed.config, "umount", "web", here(bed));
  const { data, names } = await hold.take(bed, holders);
  const refusal = { exit: 5, code: "BUSY", says: 'Cannot drop "web"', times: false };
  const { message, details } = expectRefusal(bed.directory, [bed.config, "drop", "web"], refusal);
  for (const name of names) expect(message).toContain(name);
  expect(JSON.stringify(details.holders)).toContain(names[0] ?? "?");
  if (data) {
    expect(readFileSync(join(data, "data"), "utf8")).toBe("precious");
    writeFileSync(join(data, "more"), "still writable");
  }
  hold.release?.(bed);
  await holders.release();
  expect(succeed(bed.config, "have", "web")).toBe("web exists: yes\n");
  expect(succeed(bed.config, "drop", "web")).toBe("");
}

async function refuseDropOfProgram(bed: Bed, holders: Holders): Promise<void> {
  createFs(bed, "web");
  const program = join(stored(bed), "program");
  run("cp", "/bin/sleep", program);
  const pid = await holders.hold('echo ready; exec "$1" 600', program);
  await until("the program to run", () => readlinkSync(`/proc/${pid}/exe`) === program);
  expectRefusal(bed.directory, [bed.config, "drop", "web"], { exit: 5, code: "BUSY", says: program });
}

function attach(bed: Bed): string {
  return succeed(bed.config, "attach", "web").slice("Device: ".length).trim();
}

async function refuseDetach(bed: Bed, holders: Holders): Promise<void> {
  mkdirSync(here(bed), { recursive: true });
  createFs(bed, "web");
  const device = attach(bed);
  const refuse = (...names: string[]) => {
    const refusal = { exit: 5, code: "BUSY", says: 'Cannot detach "web"', times: false };
    const { message } = expectRefusal(bed.directory, [bed.config, "detach", "web"], refusal);
    for (const name of names) expect(message).toContain(name);
    expect(run("losetup", "-n", "-O", "AUTOCLEAR", device).trim()).toBe("0");
  };
  succeed(bed.config, "mount", "web", here(bed));
  refuse(here(bed));
  succeed(bed.config, "umount", "web", here(bed));
  const pid = await holders.hold('exec 3<"$1"', device);
  refuse(device, String(pid));
  await holders.release();
  const stacked = run("losetup", "--find", "--show", device).trim();
  refuse(stacked);
  run("losetup", "-d", stacked);
  expect(succeed(bed.config, "detach", "web")).toBe("");
  expect(run("losetup", "-n", "-j", stored(bed))).toBe("");
}
