import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { readConfigFile } from "../../src/api/configfile.ts";
import { describeOnBed, run } from "../support/beds.ts";

// Whoever may write root's config is root, so only root is asked to be careful.
const BED = { name: "configs of root", backend: "plain", filesystem: "ext4" } as const;
const SOMEBODY = 12345;
const LIMIT = 64 * 1024;

let directory = "";
let path = "";

describeOnBed(
  BED,
  (bed) => {
    beforeEach(() => {
      directory = mkdtempSync(join(bed.location, "config-"));
      path = join(directory, "vm.mos");
      writeFileSync(path, "type: plain\n", { mode: 0o600 });
    });
    afterEach(() => rmSync(directory, { recursive: true }));
    describe("a config is read", testAccepted);
    describe("a config is refused with the command that mends it", testMendable);
    describe("what is no regular file is refused, and nothing waits for it:", testSpecialFiles);
  },
  16 * 1024 ** 2,
);

function expectRefusal(said: string, why: string): void {
  expect(() => readConfigFile(said)).toThrow(
    expect.objectContaining({
      code: "INVALID_CONFIG",
      message: `Refused the config ${JSON.stringify(said)}: ${why}`,
      details: { file: said, why },
    }),
  );
}

function testAccepted(): void {
  test.each([0o600, 0o644, 0o400, 0o444, 0o000])("with mode %o", (mode) => {
    chmodSync(path, mode);
    expect(readConfigFile(path).text).toBe("type: plain\n");
  });

  test("in a directory that others may write when it is sticky", () => {
    chmodSync(directory, 0o1777);
    expect(readConfigFile(path).text).toBe("type: plain\n");
  });

  test("through a directory that is a symbolic link", () => {
    mkdirSync(join(directory, "real"));
    symlinkSync("real", join(directory, "link"));
    writeFileSync(join(directory, "real/vm.mos"), "# real\n");
    expect(readConfigFile(join(directory, "link/vm.mos")).text).toBe("# real\n");
  });

  test("up to its largest size", () => {
    writeFileSync(path, "#".repeat(LIMIT));
    expect(readConfigFile(path).text).toHaveLength(LIMIT);
  });
}

function testMendable(): void {
  test.each([0o620, 0o602, 0o666, 0o777])("when others may write it: mode %o", (mode) => {
    chmodSync(path, mode);
    expectRefusal(path, `others may write it: chmod go-w ${path}`);
    run("chmod", "go-w", path);
    expect(readConfigFile(path).text).toBe("type: plain\n");
  });

  test("when somebody else owns it", () => {
    chownSync(path, SOMEBODY, 0);
    expectRefusal(path, `user ${SOMEBODY} owns it: chown root ${path}`);
    run("chown", "root", path);
    expect(readConfigFile(path).text).toBe("type: plain\n");
  });

  test.each([0o770, 0o707, 0o777])("when others may write a directory above it: mode %o", (mode) => {
    const below = join(directory, "below");
    mkdirSync(below);
    const config = join(below, "vm.mos");
    writeFileSync(config, "type: plain\n");
    for (const parent of [directory, below]) {
      chmodSync(parent, mode);
      expectRefusal(config, `others may write the directory "${parent}" above it: chmod go-w ${parent}`);
      run("chmod", "go-w", parent);
      expect(readConfigFile(config).text).toBe("type: plain\n");
    }
  });

  test.each([0o755, 0o1777])("when somebody else owns a directory above it: mode %o", (mode) => {
    chmodSync(directory, mode);
    chownSync(directory, SOMEBODY, 0);
    expectRefusal(
      path,
      `user ${SOMEBODY} owns the directory "${directory}" above it: move it to /etc/mosaic`,
    );
  });

  test("when it has a second name", () => {
    linkSync(path, join(directory, "other.mos"));
    expectRefusal(path, "it has 2 hard links: make a copy of its own");
  });

  test("when it is a symbolic link", () => {
    const link = join(directory, "link.mos");
    symlinkSync("vm.mos", link);
    expectRefusal(link, `it is a symbolic link: name the file that it leads to, "${path}"`);
    const dangling = join(directory, "dangling.mos");
    symlinkSync("none", dangling);
    expectRefusal(dangling, "it is a symbolic link: name the file that it leads to, which is missing");
  });

  test("when it is larger than any config, however large", () => {
    for (const size of [LIMIT + 1, 10 * 1024 ** 2, 2 ** 40]) {
      truncateSync(path, size);
      expectRefusal(path, `it has ${size} bytes, and a config has at most ${LIMIT}`);
    }
  });

  test("when a link on the way to it is somebody else's to change", () => {
    const [theirs, ours] = [join(directory, "theirs"), join(directory, "ours")];
    for (const made of [theirs, ours]) mkdirSync(made);
    symlinkSync("../ours", join(theirs, "link"));
    writeFileSync(join(ours, "vm.mos"), "type: plain\n");
    chownSync(theirs, SOMEBODY, SOMEBODY);
    expect(() => readConfigFile(join(theirs, "link/vm.mos"))).toThrow(
      expect.objectContaining({ code: "INVALID_CONFIG", message: expect.stringContaining(theirs) }),
    );
  });
}

function testSpecialFiles(): void {
  const special = () => join(directory, "special.mos");

  async function expectNoRegularFile(): Promise<void> {
    expect(() => readConfigFile(special())).toThrow(
      expect.objectContaining({
        code: "INVALID_CONFIG",
        message: expect.stringContaining("it is not a regular file"),
      }),
    );
  }

  test("a directory", () => {
    mkdirSync(special());
    return expectNoRegularFile();
  });

  test("a FIFO that nobody writes", () => {
    run("mkfifo", special());
    return expectNoRegularFile();
  });

  test("a device", () => {
    run("mknod", special(), "c", "1", "5");
    return expectNoRegularFile();
  });

  test("a socket", async () => {
    const server = createServer();
    try {
      await new Promise<void>((resolve) => server.listen(special(), resolve));
      await expectNoRegularFile();
    } finally {
      server.close();
    }
  });
}
