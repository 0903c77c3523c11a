import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runAction } from "../../src/api/actions.ts";
import type { BackendName } from "../../src/backends/registry.ts";
import { type Holder, openMosaic } from "../../src/index.ts";
import { BEDS, type Bed, daemonsBelow, describeOnBed, run } from "../support/beds.ts";
import { expectError, until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { loopImagesBelow } from "../support/snapshot.ts";

// Volumes as programs of QEMU open them: by what info says, and by NBD at a socket.

const SIZE = 16 * 1024 ** 2;
const DISK = { kind: "disk", sizeBytes: SIZE } as const;
const NBD = { export: "nbd" } as const;

const FORMATS: Partial<Record<BackendName, string>> = { loop: "raw", qcow2: "qcow2", ploop: "ploop" };

for (const row of [BEDS.loop[1], BEDS.qcow2[0], BEDS.ploop[0]]) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));

    test("what info says opens the image as it is", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("vm", DISK);
      const { image } = await mosaic.statVolume("vm");
      expect(image).toMatchObject({ format: String(FORMATS[row.backend]) });
      run("qemu-io", "-c", "write -P 0x5a 1M 64k", `json:${JSON.stringify(image?.blockdev)}`);
      const device = await mosaic.attachVolume("vm");
      expect(readBytes(device, 1024 ** 2)).toBe("5a5a");
      await mosaic.detachVolume("vm");
    });

    test("what clients write at a socket is in the volume, and nothing else writes it meanwhile", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
      const answer = await runAction(mosaic, "attach", { volume: "web", ...NBD });
      const uri = (answer as { device: string }).device;
      expect(uri).toMatch(/^nbd\+unix:\/\/\/\?socket=\/.*\/nbd$/);
      expect(mosaic.listVolumes()).toMatchObject([{ attachedAs: uri, mountedAt: [] }]);
      const { holders } = await mosaic.statVolume("web");
      expect(holders).toEqual([{ kind: "device", device: uri, attached: true }]);
      for (const action of [
        () => mosaic.mountVolume("web", mountPoint),
        () => mosaic.attachVolume("web"),
        () => mosaic.attachVolume("web", NBD),
        () => mosaic.dropVolume("web"),
        () => mosaic.resizeVolume("web", 2 * SIZE),
        () => mosaic.resizeVolume("web", SIZE / 2, { shrink: true }),
      ]) {
        const error = await expectError("BUSY", action);
        expect(error.details.holders as Holder[]).toEqual([...holders]);
      }
      await expectError("NOT_FOUND", () => mosaic.unmountVolume("web", mountPoint));
      await mosaic.createVolume("other", DISK);
      run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", makeFilesystem(bed, "by a client"), uri);
      expect((await mosaic.check()).findings).toEqual([]);
      await mosaic.detachVolume("web");
      expect(daemonsBelow(bed.location)).toEqual([]);
      await mosaic.mountVolume("web", mountPoint);
      expect(readFileSync(join(mountPoint, "data"), "utf8")).toBe("by a client");
      await mosaic.unmountVolume("web", mountPoint);
    });

    test("a clone of a volume at a socket is what clients wrote, and both go their own ways", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("vm", DISK);
      const uri = await mosaic.attachVolume("vm", NBD);
      run("qemu-io", "-f", "raw", "-c", "write -P 0x11 0 64k", uri);
      await mosaic.cloneVolume("vm", "one");
      run("qemu-io", "-f", "raw", "-c", "write -P 0x22 0 64k", uri);
      await mosaic.cloneVolume("vm", "two");
      run("qemu-io", "-f", "raw", "-c", "write -P 0x33 0 64k", uri);
      await mosaic.detachVolume("vm");
      for (const [name, bytes] of [
        ["one", "1111"],
        ["two", "2222"],
        ["vm", "3333"],
      ] as const) {
        const device = await mosaic.attachVolume(name, { readOnly: true });
        expect(readBytes(device, 0)).toBe(bytes);
        await mosaic.detachVolume(name);
      }
      expect((await mosaic.check()).findings).toEqual([]);
    });

    test("a socket with a client is not ended", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("vm", DISK);
      const uri = await mosaic.attachVolume("vm", NBD);
      const client = Bun.spawn(["qemu-io", "-f", "raw", uri], { stdin: "pipe", stdout: "pipe" });
      const said = client.stdout.getReader();
      try {
        await untilSaid(client, said, "write -P 0x44 0 64k", "wrote 65536/65536");
        const error = await expectError("BUSY", () => mosaic.detachVolume("vm"));
        expect(error.message).toContain("a client is connected");
        await untilSaid(client, said, "read -P 0x44 0 64k", "read 65536/65536");
      } finally {
        client.stdin.end();
        await client.exited;
      }
      await until("the client to go", async () => {
        try {
          await mosaic.detachVolume("vm");
          return true;
        } catch {
          return false;
        }
      });
      expect(daemonsBelow(bed.location)).toEqual([]);
      await expectError("NOT_FOUND", () => mosaic.detachVolume("vm"));
    });

    test("what is attached read-only cannot be written, at a socket and as a device", async () => {
      await using mosaic = await openMosaic(bed.config);
      const mountPoint = bed.makeMountPoint();
      await mosaic.createVolume("web", { kind: "fs", sizeBytes: SIZE });
      const uri = await mosaic.attachVolume("web", { ...NBD, readOnly: true });
      expect(run("qemu-io", "-r", "-f", "raw", "-c", "read 0 64k", uri)).toContain("read 65536/65536");
      expect(() => run("qemu-io", "-f", "raw", "-c", "write 0 64k", uri)).toThrow();
      await mosaic.detachVolume("web");
      const device = await mosaic.attachVolume("web", { readOnly: true });
      expect(run("blockdev", "--getro", device).trim()).toBe("1");
      await expectError("BUSY", () => mosaic.mountVolume("web", mountPoint));
      await mosaic.mountVolume("web", mountPoint, { readOnly: true });
      await mosaic.unmountVolume("web", mountPoint);
      await mosaic.detachVolume("web");
      expect(loopImagesBelow(bed.location)).toEqual([]);
    });

    test("a server that dies is reported, and attached again", async () => {
      await using mosaic = await openMosaic(bed.config);
      await mosaic.createVolume("vm", DISK);
      const uri = await mosaic.attachVolume("vm", NBD);
      run("qemu-io", "-f", "raw", "-c", "write -P 0x55 0 64k", "-c", "flush", uri);
      const [server] = daemonsBelow(bed.location);
      process.kill(server?.pid ?? 0, "SIGKILL");
      await until("its end", () => daemonsBelow(bed.location).length === 0);
      expect(mosaic.listVolumes()).toMatchObject([{ attachedAs: null }]);
      const { findings } = await mosaic.check();
      expect(findings).toContainEqual(expect.objectContaining({ code: "dead-daemon", subject: "vm" }));
      expect(await mosaic.attachVolume("vm", NBD)).toBe(uri);
      run("qemu-io", "-f", "raw", "-c", "read -P 0x55 0 64k", uri);
      await mosaic.detachVolume("vm");
      expect((await mosaic.check()).findings).toEqual([]);
    });
  });
}

/** Gives qemu-io a command, and reads what it says until these words. */
async function untilSaid(
  client: { readonly stdin: { write(text: string): unknown; flush(): unknown } },
  said: { read(): Promise<{ readonly value?: Uint8Array | undefined; readonly done: boolean }> },
  command: string,
  words: string,
): Promise<void> {
  client.stdin.write(`${command}\n`);
  client.stdin.flush();
  let text = "";
  while (!text.includes(words)) {
    const { value, done } = await said.read();
    if (done) throw new Error(`it said only ${text}`);
    text += Buffer.from(value ?? []).toString();
  }
}

function readBytes(device: string, offset: number): string {
  return run("od", "-An", "-tx1", "-j", String(offset), "-N", "2", device).replaceAll(/\s/g, "");
}

/** An image with ext4 and a file "data" in it. */
function makeFilesystem(bed: Bed, text: string): string {
  const [image, content] = [join(bed.directory, "filled"), join(bed.directory, "content")];
  if (!existsSync(content)) mkdirSync(content);
  writeFileSync(join(content, "data"), text);
  run("truncate", "-s", String(SIZE), image);
  run("mkfs.ext4", "-q", "-F", "-d", content, image);
  return image;
}
