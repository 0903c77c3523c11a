import { afterEach, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { clearBed } from "../support/foreign.ts";
import { MOCTL, moctl, succeed } from "./moctl.ts";
import { type Ended, type RunSettings, runProgram } from "./program.ts";

// A hostile environment changes nothing: the same commands do and say the same in it as in a clean one.

interface Surroundings {
  readonly argv?: readonly string[];
  readonly settings?: RunSettings;
  /** What the dynamic loader says by itself. */
  readonly noise?: RegExp;
}

type Runner = (...args: readonly string[]) => Ended;

const SHELL = ["sh", "-c"];

/** The rows by what is hostile; `trap` is a directory with things that would leave a file "sprung". */
function listSurroundings(trap: string): Record<string, Surroundings> {
  const gone = `mkdir ${trap}/gone && cd ${trap}/gone && rmdir ${trap}/gone && exec "$@"`;
  return {
    "a working directory with files for Bun": { settings: { cwd: trap } },
    "a working directory that was deleted": { argv: [...SHELL, gone, "sh", MOCTL] },
    "a PATH with other tools": { settings: { env: { PATH: `${trap}/bin:${process.env.PATH}` } } },
    "an empty PATH": { settings: { env: { PATH: "" } } },
    "a configuration of mkfs": { settings: { env: { MKE2FS_CONFIG: `${trap}/mke2fs.conf` } } },
    "a library to preload that is missing": {
      settings: { env: { LD_PRELOAD: `${trap}/missing.so` } },
      noise: /^ERROR: ld\.so: .*\n/gm,
    },
    "another language": { settings: { env: { LC_ALL: "de_DE.UTF-8", LANGUAGE: "de", TZ: "Asia/Tokyo" } } },
    "options of Node": { settings: { env: { NODE_OPTIONS: `--require ${trap}/evil.js` } } },
    "a umask of 0": { argv: [...SHELL, 'umask 0; exec "$@"', "sh", MOCTL] },
    "no HOME": { argv: ["env", "-u", "HOME", MOCTL] },
    "an empty environment": { argv: ["/usr/bin/env", "-i", MOCTL] },
    "standard input at its end": { argv: [...SHELL, 'true | "$@"', "sh", MOCTL] },
    "standard input closed": { argv: [...SHELL, 'exec "$@" <&-', "sh", MOCTL] },
    "a copy alone in a directory": { argv: [`${trap}/alone/moctl`], settings: { cwd: `${trap}/alone` } },
    "a copy that may only be executed": { argv: [`${trap}/only/moctl`] },
  };
}

describeOnBed(BEDS.loop[0], (bed) => {
  const trap = join(bed.directory, "trap");
  beforeAll(() => setTrap(trap));
  afterEach(() => clearBed(bed));

  test.each(Object.entries(listSurroundings(trap)))("%s changes nothing", (_what, surroundings) => {
    const clean = live(bed, (...args) => moctl(args));
    const hostile = live(bed, (...args) => runIn(surroundings, args));
    expect(hostile).toEqual(clean);
    expect(existsSync(join(trap, "sprung"))).toBe(false);
  });

  test("all descriptors closed: the work is done, and no output goes into a volume", () => {
    const closed = (...args: string[]) =>
      runProgram([...SHELL, 'exec "$@" <&- >&- 2>&-', "sh", MOCTL, ...args]).exit;
    const mountPoint = bed.makeMountPoint();
    expect(closed(bed.config, "create", "fs", "web", "16m", "--verbose")).toBe(0);
    run("e2fsck", "-f", "-n", join(bed.location, "web"));
    expect(closed(bed.config, "create", "fs", "web", "16m")).toBe(4);
    expect(closed(bed.config, "mount", "web", mountPoint, "--verbose")).toBe(0);
    expect(readdirSync(mountPoint)).toEqual(["lost+found"]);
    expect(closed(bed.config, "umount", "web", mountPoint)).toBe(0);
    expect(closed(bed.config, "list", "--json")).toBe(0);
    expect(closed(bed.config, "drop", "web", "--verbose")).toBe(0);
    expect(readdirSync(bed.location)).toEqual([]);
  });

  test("a relative path has no meaning in a working directory that was deleted", () => {
    const gone = `mkdir ${trap}/away && cd ${trap}/away && rmdir ${trap}/away && exec "$@"`;
    copyFileSync(MOCTL, join(trap, "alone/moctl"));
    copyFileSync(bed.config, join(trap, "alone/bed.mos"));
    mkdirSync(join(trap, "alone/mnt"), { recursive: true });
    succeed(bed.config, "create", "fs", "web", "16m");
    for (const args of [
      ["./bed.mos", "info"],
      [bed.config, "mount", "web", "mnt"],
      [bed.config, "umount", "web", "mnt"],
    ]) {
      const { exit, stdout, stderr } = runProgram([...SHELL, gone, "sh", `${trap}/alone/moctl`, ...args]);
      expect({ args, exit, stdout }).toEqual({ args, exit: 2, stdout: "" });
      expect(stderr).toContain("the working directory is gone");
    }
  });
});

function setTrap(trap: string): void {
  const spring = `require("node:fs").writeFileSync("${trap}/sprung", "");`;
  for (const directory of ["", "bin", "alone", "only"]) mkdirSync(join(trap, directory), { recursive: true });
  const files = {
    "bunfig.toml": 'preload = ["./evil.js"]\n',
    ".env": `MOSAIC_CONFIG_DIR=${trap}\nBUN_OPTIONS=--preload=./evil.js\n`,
    "package.json": '{"imports":{"#x":"./evil.js"},"main":"./evil.js","type":"commonjs"}',
    "tsconfig.json": '{"compilerOptions":{"paths":{"*":["./evil.js"]},"jsxImportSource":"./evil.js"}}',
    "evil.js": spring,
    "mke2fs.conf": "[defaults]\nblocksize = 1024\nbase_features = sparse_super\n",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(trap, name), text);
  for (const tool of ["losetup", "mkfs.ext4", "mkfs", "mount", "umount", "blkid", "btrfs", "find", "flock"]) {
    writeFileSync(join(trap, "bin", tool), `#!/bin/sh\ntouch ${trap}/sprung\n`);
    chmodSync(join(trap, "bin", tool), 0o755);
  }
  for (const [directory, mode] of [
    ["alone", 0o755],
    ["only", 0o711],
  ] as const) {
    copyFileSync(MOCTL, join(trap, directory, "moctl"));
    chmodSync(join(trap, directory, "moctl"), mode);
  }
}

function runIn({ argv = [MOCTL], settings = {}, noise }: Surroundings, args: readonly string[]): Ended {
  const ended = runProgram([...argv, ...args], settings);
  return { ...ended, stderr: noise ? ended.stderr.replaceAll(noise, "") : ended.stderr };
}

/** The life of a volume, with all that can be seen of it. */
function live(bed: Bed, moctlIn: Runner): unknown {
  const mountPoint = join(bed.directory, "mnt");
  mkdirSync(mountPoint, { recursive: true });
  const image = join(bed.location, "a/web");
  const ends = [moctlIn(bed.config, "create", "fs", "a/web", "16m")];
  const modes = [image, join(image, "..")].map((path) => (statSync(path).mode & 0o7777).toString(8));
  const filesystem = run("dumpe2fs", "-h", image).match(/^(Filesystem features|Block size|Inode size):.*$/gm);
  ends.push(moctlIn(bed.config, "have", "a/web"), moctlIn("mosaic-that-is-not", "info"));
  ends.push(moctlIn(bed.config, "mount", "-o", "ro", "a/web", mountPoint));
  const listed = moctlIn(bed.config, "list");
  ends.push(listed, moctlIn(bed.config, "umount", "a/web", mountPoint));
  ends.push(moctlIn(bed.config, "drop", "a/web"), moctlIn(bed.config, "drop", "a/web"));
  expect(ends.map(({ exit }) => exit)).toEqual([0, 0, 3, 0, 0, 0, 0, 3]);
  expect(modes).toEqual(["600", "700"]);
  return { ends, modes, filesystem, left: readdirSync(bed.location) };
}
