import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type Holder, type Mosaic, openMosaic } from "../../src/index.ts";
import { type Bed, daemonsBelow, describeOnBed, run } from "../support/beds.ts";
import { expectError, until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { rawImageOf } from "../support/rawimage.ts";
import { loopImagesBelow, snapshotTree } from "../support/snapshot.ts";

// What only images have that lie over others and are shown by a daemon each.

const SIZE = 32 * 1024 ** 2;
const FS = { kind: "fs", sizeBytes: SIZE } as const;

const HOSTILE: [string, string[], (path: string) => void, string][] = [
  ["lies over another file", ["-u", "-F", "raw", "-b", "/etc/passwd"], () => {}, "does not say"],
  [
    "lies over another image",
    ["-u", "-F", "qcow2", "-b", "../../etc/image"],
    () => {},
    "none that moctl made",
  ],
  ["has its data elsewhere", [], (path) => patch(path, 72, [0, 0, 0, 0, 0, 0, 0, 4]), "in another file"],
  ["is of an old version", ["-o", "compat=0.10"], () => {}, "version 3"],
  ["says it is encrypted", [], (path) => patch(path, 32, [0, 0, 0, 2]), "encrypted"],
  ["has an unknown feature", [], (path) => patch(path, 72, [0, 0, 0, 0, 0, 0, 1, 0]), "not known"],
  [
    "has a name outside of its header",
    ["-u", "-F", "qcow2", "-b", "x"],
    (path) => patch(path, 8, [0, 0, 1]),
    "outside",
  ],
  ["has a huge table", [], (path) => patch(path, 36, [0xff, 0xff, 0xff, 0xff]), "too large"],
  ["has no size", [], (path) => patch(path, 24, [0, 0, 0, 0, 0, 0, 0, 0]), "whole number"],
  ["is no image", [], (path) => patch(path, 0, [0, 0, 0, 0]), "no qcow2 image"],
];

describeOnBed({ name: "qcow2 on ext4", backend: "qcow2", filesystem: "ext4" }, (bed) => {
  afterEach(() => clearBed(bed));

  test("the data that clones share lives as long as one of them, whatever is dropped first", async () => {
    await using mosaic = await openMosaic(bed.config);
    await writeNew(mosaic, bed, "a/b/old", "one");
    await mosaic.cloneVolume("a/b/old", "first");
    await writeInto(mosaic, bed, "first", "two");
    await mosaic.cloneVolume("first", "c/second");
    expect(listBases(bed)).toHaveLength(2);
    for (const name of ["a/b/old", "first", "c/second"])
      expect(run("qemu-img", "info", "--backing-chain", join(bed.location, name))).toContain(
        "file format: qcow2",
      );
    await mosaic.dropVolume("a/b/old");
    await mosaic.dropVolume("first");
    expect(await readFrom(mosaic, bed, "c/second")).toBe("two");
    expect(listBases(bed)).toHaveLength(2);
    await mosaic.dropVolume("c/second");
    expect(readdirSync(bed.location)).toEqual([]);
  });

  test("clones of a volume that is not written share one base, and its chain does not grow", async () => {
    await using mosaic = await openMosaic(bed.writeConfig("short", ["chain: 2"]));
    await writeNew(mosaic, bed, "golden", "gold");
    for (const name of ["one", "two", "three"]) await mosaic.cloneVolume("golden", name);
    expect(listBases(bed)).toHaveLength(1);
    for (const name of ["golden", "one", "three"]) expect(await readFrom(mosaic, bed, name)).toBe("gold");
    expect((await mosaic.statVolume("golden")).image?.chain).toHaveLength(2);
  });

  test("a chain that is too long is said so, and made one image by a repair", async () => {
    await using mosaic = await openMosaic(bed.writeConfig("short", ["chain: 2"]));
    await writeNew(mosaic, bed, "old", "one");
    await mosaic.cloneVolume("old", "new");
    await writeInto(mosaic, bed, "old", "two");
    const before = snapshotTree(bed.location);
    const error = await expectError("UNSUPPORTED", () => mosaic.cloneVolume("old", "more"));
    expect(error.message).toContain("check --repair");
    expect(snapshotTree(bed.location)).toEqual(before);
    const report = await mosaic.check({ repair: true });
    expect(report.findings.map(({ code, isRepaired }) => [code, isRepaired])).toEqual([
      ["long-chain", true],
      ["long-chain", true],
    ]);
    expect((await mosaic.statVolume("old")).image?.chain).toEqual([join(bed.location, "old")]);
    await mosaic.cloneVolume("old", "more");
    expect(await readFrom(mosaic, bed, "more")).toBe("two");
    expect(await readFrom(mosaic, bed, "new")).toBe("one");
  });

  test("a clone of a volume in use is what was synced, and its origin goes on in an image of its own", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("old", FS);
    await mosaic.mountVolume("old", mountPoint);
    for (const round of ["one", "two", "three"]) {
      writeFileSync(join(mountPoint, "data"), round);
      await mosaic.cloneVolume("old", round);
    }
    writeFileSync(join(mountPoint, "data"), "last");
    await mosaic.unmountVolume("old", mountPoint);
    for (const round of ["one", "two", "three"]) expect(await readFrom(mosaic, bed, round)).toBe(round);
    expect(await readFrom(mosaic, bed, "old")).toBe("last");
    for (const path of [
      ...listBases(bed).map((base) => `.mosaic-base/${base}`),
      "old",
      "one",
      "two",
      "three",
    ])
      run("qemu-img", "check", "-q", "-f", "qcow2", join(bed.location, path));
    expect((await mosaic.check()).findings).toEqual([]);
  });

  test.each(HOSTILE)(
    "an image that %s is refused, before any tool opens it",
    async (_what, options, change, word) => {
      await using mosaic = await openMosaic(bed.config);
      const path = join(bed.location, "foreign");
      run("qemu-img", "create", "-q", "-f", "qcow2", ...options, path, "32M");
      change(path);
      const before = run("sha256sum", path);
      expect(
        (await expectError("UNSUPPORTED", () => mosaic.adoptVolume("foreign", "disk"))).message,
      ).toContain(word);
      expect(run("sha256sum", path)).toBe(before);
      expect(daemonsBelow(bed.location)).toEqual([]);
    },
  );

  test("a base that is missing is DAMAGED, and nothing is guessed", async () => {
    await using mosaic = await openMosaic(bed.config);
    await writeNew(mosaic, bed, "old", "one");
    await mosaic.cloneVolume("old", "new");
    const [base = ""] = listBases(bed);
    run("mv", join(bed.location, ".mosaic-base", base), join(bed.directory, "kept"));
    expect((await expectError("DAMAGED", () => mosaic.attachVolume("new"))).message).toContain(base);
    expect((await mosaic.check()).findings).toContainEqual(
      expect.objectContaining({ code: "image", subject: "new" }),
    );
    run("mv", join(bed.directory, "kept"), join(bed.location, ".mosaic-base", base));
    expect(await readFrom(mosaic, bed, "new")).toBe("one");
  });

  test("a daemon that a umount of somebody else left is found, and ended by the next change", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    run("umount", mountPoint);
    await until("the device to go", () => loopImagesBelow(bed.location).length === 0);
    expect((await mosaic.check()).findings).toMatchObject([{ code: "stale-daemon", subject: "web" }]);
    expect(daemonsBelow(bed.location)).toHaveLength(1);
    await mosaic.createVolume("other", { kind: "disk", sizeBytes: SIZE });
    expect(daemonsBelow(bed.location)).toEqual([]);
    expect((await mosaic.check()).findings).toEqual([]);
  });

  test("a daemon that dies in use is reported, nothing hangs, and what was synced is there after detach", async () => {
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    writeFileSync(join(mountPoint, "data"), "synced");
    run("sync", "-f", mountPoint);
    const [daemon] = daemonsBelow(bed.location);
    process.kill(daemon?.pid ?? 0, "SIGKILL");
    await until("its end", () => daemonsBelow(bed.location).length === 0);
    expect((await mosaic.check()).findings).toContainEqual(
      expect.objectContaining({ code: "dead-daemon", subject: "web" }),
    );
    for (const action of [() => mosaic.attachVolume("web"), () => mosaic.statVolume("web")])
      expect((await expectError("DAMAGED", action)).message).toContain("unmount");
    expect(mosaic.listVolumes()).toMatchObject([{ name: "web", mountedAt: [mountPoint] }]);
    await expectError("BUSY", () => mosaic.dropVolume("web"));
    await expectError("NOT_FOUND", () => mosaic.detachVolume("web"));
    await mosaic.unmountVolume("web", mountPoint);
    expect(existsSync(daemon?.path ?? "")).toBe(false);
    run("qemu-img", "check", "-q", "-r", "leaks", "-f", "qcow2", join(bed.location, "web"));
    // Its journal is replayed.
    await mosaic.mountVolume("web", mountPoint);
    expect(readFileSync(join(mountPoint, "data"), "utf8")).toBe("synced");
    await mosaic.unmountVolume("web", mountPoint);
    expect((await mosaic.check()).findings).toEqual([]);
  });

  test("a daemon that dies under an attached volume is ended by detach", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("vm", { kind: "disk", sizeBytes: SIZE });
    const device = await mosaic.attachVolume("vm");
    run("sh", "-c", `printf synced | dd of=${device} conv=notrunc,fsync 2>/dev/null`);
    process.kill(daemonsBelow(bed.location)[0]?.pid ?? 0, "SIGKILL");
    await until("its end", () => daemonsBelow(bed.location).length === 0);
    await expectError("DAMAGED", () => mosaic.statVolume("vm"));
    await mosaic.detachVolume("vm");
    expect((await mosaic.check()).findings).toEqual([]);
    expect(readFileSync(await mosaic.attachVolume("vm")).toString("utf8", 0, 6)).toBe("synced");
    await mosaic.detachVolume("vm");
  });

  test("a daemon that is stopped is named, and nothing waits for it", async () => {
    await using mosaic = await openMosaic(bed.config);
    const [mountPoint, other] = [bed.makeMountPoint(), bed.makeMountPoint()];
    await mosaic.createVolume("web", FS);
    await mosaic.mountVolume("web", mountPoint);
    writeFileSync(join(mountPoint, "data"), "not written yet");
    const pid = daemonsBelow(bed.location)[0]?.pid ?? 0;
    process.kill(pid, "SIGSTOP");
    try {
      expect((await mosaic.statVolume("web")).holders).toMatchObject([{ kind: "mount", path: mountPoint }]);
      expect((await mosaic.check()).findings).toMatchObject([
        { code: "stopped-daemon", subject: "web", advice: `kill -CONT ${pid}` },
      ]);
      for (const action of [
        () => mosaic.unmountVolume("web", mountPoint),
        () => mosaic.mountVolume("web", other),
        () => mosaic.attachVolume("web"),
        () => mosaic.cloneVolume("web", "new"),
        () => mosaic.resizeVolume("web", 2 * SIZE),
      ])
        expect((await expectError("UNAVAILABLE", action)).message).toContain(`kill -CONT ${pid}`);
      await expectError("BUSY", () => mosaic.dropVolume("web"));
      await mosaic.createVolume("other", FS);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await mosaic.unmountVolume("web", mountPoint);
    expect(await readFrom(mosaic, bed, "web")).toBe("not written yet");
  });

  test("writes that come at the same time do not mix", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("vm", { kind: "disk", sizeBytes: SIZE });
    const device = await mosaic.attachVolume("vm");
    const expected = Buffer.alloc(SIZE);
    const writers = Array.from({ length: 8 }, (_, index) => {
      const part = join(bed.directory, `part${index}`);
      const bytes = Buffer.alloc(SIZE / 8, index + 1);
      bytes.copy(expected, index * bytes.length);
      writeFileSync(part, bytes);
      const to = [
        "bs=1k",
        "oflag=direct",
        "conv=notrunc",
        "status=none",
        `seek=${(index * bytes.length) / 1024}`,
      ];
      return Bun.spawn(["dd", `if=${part}`, `of=${device}`, ...to]);
    });
    for (const writer of writers) expect(await writer.exited).toBe(0);
    await mosaic.detachVolume("vm");
    expect(readFileSync(rawImageOf(bed, "vm")).equals(expected)).toBe(true);
  });

  test("what another program has open is BUSY, and its process is named", async () => {
    await using mosaic = await openMosaic(bed.config);
    await writeNew(mosaic, bed, "web", "one");
    const { image } = await mosaic.statVolume("web");
    const node = JSON.stringify({ ...image?.blockdev, "node-name": "n" });
    const socket = join(bed.directory, "nbd");
    const server = ["--nbd-server", `addr.type=unix,addr.path=${socket}`];
    const shown = ["--export", "type=nbd,id=e,node-name=n,writable=on"];
    const other = Bun.spawn(["qemu-storage-daemon", "--blockdev", node, ...server, ...shown]);
    try {
      await until("its start", () => existsSync(socket));
      for (const action of [
        () => mosaic.attachVolume("web"),
        () => mosaic.cloneVolume("web", "new"),
        () => mosaic.dropVolume("web"),
        () => mosaic.resizeVolume("web", 2 * SIZE),
      ])
        await expectError("BUSY", action);
      const holders = (await mosaic.statVolume("web")).holders;
      expect(holders).toContainEqual(expect.objectContaining({ kind: "process", pid: other.pid }) as Holder);
    } finally {
      other.kill();
      await other.exited;
    }
    expect(await readFrom(mosaic, bed, "web")).toBe("one");
  });

  test("a foreign image that another program has open is told, and nothing is left of the look", async () => {
    await using mosaic = await openMosaic(bed.config);
    const path = join(bed.location, "foreign");
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "32M");
    const other = Bun.spawn(["qemu-io", "-f", "qcow2", path], { stdin: "pipe", stdout: "ignore" });
    try {
      await until("it to be open", () => run("ls", "-l", `/proc/${other.pid}/fd`).includes(path));
      for (let look = 0; look < 2; look++)
        expect((await mosaic.check()).findings).toMatchObject([{ code: "foreign", subject: "foreign" }]);
      await expectError("BUSY", () => mosaic.adoptVolume("foreign", "fs"));
    } finally {
      other.kill();
      await other.exited;
    }
    await mosaic.adoptVolume("foreign", "disk");
    expect((await mosaic.check()).findings).toEqual([]);
  });

  test("what info says opens the image as it is, with all that lies below", async () => {
    await using mosaic = await openMosaic(bed.config);
    await mosaic.createVolume("old", { kind: "disk", sizeBytes: SIZE });
    const qemuIo = async (name: string, command: string) => {
      const { image } = await mosaic.statVolume(name);
      return run("qemu-io", "-c", command, `json:${JSON.stringify(image?.blockdev)}`);
    };
    await qemuIo("old", "write -P 0x5a 1M 64k");
    await mosaic.cloneVolume("old", "a/new");
    await qemuIo("a/new", "write -P 0xa5 2M 64k");
    const device = await mosaic.attachVolume("a/new");
    const read = (offset: number) => run("od", "-An", "-tx1", "-j", String(offset), "-N", "2", device).trim();
    expect([read(0), read(1024 ** 2), read(2 * 1024 ** 2)]).toEqual(["00 00", "5a 5a", "a5 a5"]);
    run("sh", "-c", `printf seen | dd of=${device} bs=512 seek=8192 conv=notrunc,fsync 2>/dev/null`);
    await mosaic.detachVolume("a/new");
    expect(await qemuIo("a/new", "read -v 4M 16")).toContain("seen");
    expect(await qemuIo("old", "read -P 0 2M 64k")).not.toContain("failed");
  });
});

function patch(path: string, offset: number, bytes: readonly number[]): void {
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.from(bytes), 0, bytes.length, offset);
  closeSync(fd);
  run("sync", path);
}

function listBases(bed: Bed): string[] {
  const directory = join(bed.location, ".mosaic-base");
  return existsSync(directory) ? readdirSync(directory) : [];
}

async function writeNew(mosaic: Mosaic, bed: Bed, name: string, text: string): Promise<void> {
  await mosaic.createVolume(name, FS);
  await writeInto(mosaic, bed, name, text);
}

async function writeInto(mosaic: Mosaic, bed: Bed, name: string, text: string): Promise<void> {
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume(name, mountPoint);
  writeFileSync(join(mountPoint, "data"), text);
  await mosaic.unmountVolume(name, mountPoint);
}

async function readFrom(mosaic: Mosaic, bed: Bed, name: string): Promise<string> {
  const mountPoint = bed.makeMountPoint();
  await mosaic.mountVolume(name, mountPoint, { readOnly: true });
  const text = readFileSync(join(mountPoint, "data"), "utf8");
  await mosaic.unmountVolume(name, mountPoint);
  return text;
}
