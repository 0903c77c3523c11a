import { afterEach, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { openMosaic } from "../../src/index.ts";
import { BEDS, type Bed, describeOnBed, run } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";

// A virtual machine on a volume, without a block device of the host: by what info says, and by a socket. What one side
// writes the other one reads.

const PROJECT = join(import.meta.dir, "../..");
const GUEST = join(PROJECT, "node_modules/.cache/guest");
const SIZE = 32 * 1024 ** 2;
const NODE = { "node-name": "disk" };

/** Says what the host wrote, writes, and waits for a word. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
until [ -e /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /volume || echo "cannot mount"
echo "host: $(cat /volume/host)"
echo "from the machine" >>/volume/machine
sync
echo "machine: written"
read -r word
umount /volume
poweroff -f
`;

for (const row of [BEDS.qcow2[0], BEDS.ploop[0]]) describeOnBed(row, testMachine);

function testMachine(bed: Bed): void {
  const [format, image] = bed.row.backend === "ploop" ? ["parallels", "root.hds"] : ["qcow2", ""];
  afterEach(() => clearBed(bed));

  test("a machine and a mount see what the other one wrote, and never use a volume at once", async () => {
    run(join(PROJECT, "scripts/guest.d/fetch"));
    await using mosaic = await openMosaic(bed.config);
    const mountPoint = bed.makeMountPoint();
    await mosaic.createVolume("vm", { kind: "fs", sizeBytes: SIZE });
    const initrd = makeInitrd(bed);
    const onHost = async (action: () => void) => {
      await mosaic.mountVolume("vm", mountPoint);
      action();
      await mosaic.unmountVolume("vm", mountPoint);
    };
    await onHost(() => writeFileSync(join(mountPoint, "host"), "one"));
    const { image: volume } = await mosaic.statVolume("vm");
    {
      await using machine = new Machine(initrd, { ...volume?.blockdev, ...NODE });
      expect(await machine.untilSaid("machine: written")).toContain("host: one");
      for (const action of [
        () => mosaic.mountVolume("vm", mountPoint),
        () => mosaic.attachVolume("vm", { export: "nbd" }),
        () => mosaic.dropVolume("vm"),
        () => mosaic.resizeVolume("vm", 2 * SIZE),
      ])
        await expectError("BUSY", action);
      await machine.turnOff();
    }
    await onHost(() => {
      expect(readFileSync(join(mountPoint, "machine"), "utf8")).toBe("from the machine\n");
      writeFileSync(join(mountPoint, "host"), "two");
    });
    const uri = await mosaic.attachVolume("vm", { export: "nbd" });
    {
      const path = uri.slice(uri.indexOf("=") + 1);
      await using machine = new Machine(initrd, { driver: "nbd", server: { type: "unix", path }, ...NODE });
      expect(await machine.untilSaid("machine: written")).toContain("host: two");
      await mosaic.cloneVolume("vm", "copy");
      expect((await expectError("BUSY", () => mosaic.detachVolume("vm"))).message).toContain("client");
      await machine.turnOff();
    }
    await mosaic.detachVolume("vm");
    for (const name of ["vm", "copy"]) {
      await mosaic.mountVolume(name, mountPoint);
      expect(readFileSync(join(mountPoint, "machine"), "utf8")).toBe("from the machine\n".repeat(2));
      await mosaic.unmountVolume(name, mountPoint);
      run("qemu-img", "check", "-q", "-f", format, join(bed.location, name, image));
    }
  });
}

/** A virtual machine whose disk is a node of QEMU. */
class Machine {
  private readonly emulator;
  private readonly said;
  private text = "";

  constructor(initrd: string, node: object) {
    const kernel = ["-kernel", join(GUEST, "vmlinux"), "-initrd", initrd];
    const disk = ["-blockdev", JSON.stringify(node), "-device", "virtio-blk-pci,drive=disk"];
    const console = ["-append", "console=ttyS0 quiet panic=-1", "-serial", "stdio", "-display", "none"];
    const machine = ["-no-user-config", "-nodefaults", "-machine", "q35", "-cpu", "max", "-m", "256"];
    const argv = [
      "qemu-system-x86_64",
      ...machine,
      "-accel",
      "tcg",
      "-no-reboot",
      ...kernel,
      ...disk,
      ...console,
    ];
    this.emulator = Bun.spawn(argv, { stdio: ["pipe", "pipe", "inherit"] });
    this.said = this.emulator.stdout.getReader();
  }

  /** Waits for words; gives all that it said so far. */
  async untilSaid(words: string): Promise<string> {
    while (!this.text.includes(words)) {
      const { value, done } = await this.said.read();
      if (done) throw new Error(`the machine ended: ${this.text}`);
      this.text += Buffer.from(value).toString();
    }
    return this.text;
  }

  async turnOff(): Promise<void> {
    this.emulator.stdin.write("off\n");
    this.emulator.stdin.flush();
    expect(await this.emulator.exited).toBe(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.emulator.kill("SIGKILL");
    await this.emulator.exited;
  }
}

/** Its first and only program, with the modules that it needs for the disk. */
function makeInitrd(bed: Bed): string {
  const [root, initrd] = [join(bed.directory, "initrd.d"), join(bed.directory, "initrd")];
  for (const name of ["bin", "dev", "modules", "volume"]) mkdirSync(join(root, name), { recursive: true });
  cpSync(join(GUEST, "root/bin/busybox"), join(root, "bin/busybox"));
  writeFileSync(join(root, "init"), INIT);
  chmodSync(join(root, "init"), 0o755);
  const release = readFileSync(join(GUEST, "release"), "utf8").trim();
  const modules = ["virtio_pci", "virtio_blk", "ext4"].flatMap((module) =>
    run("modprobe", "-d", join(GUEST, "root"), "-S", release, "--show-depends", module)
      .split("\n")
      .flatMap((line) => (line.startsWith("insmod ") ? [line.split(" ")[1] ?? ""] : [])),
  );
  for (const path of modules) cpSync(path, join(root, "modules", basename(path)));
  const order = [...new Set(modules.map((path) => basename(path)))];
  writeFileSync(join(root, "modules/order"), order.map((name) => `${name}\n`).join(""));
  run("sh", "-c", `cd ${root} && find . | ${GUEST}/root/bin/busybox cpio -o -H newc >${initrd} 2>/dev/null`);
  return initrd;
}
