import { afterEach, expect, test } from "bun:test";
import { chmodSync, chownSync, closeSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Location, openLocation, placeInFilesystem } from "../../src/location/location.ts";
import { type Bed, describeOnBed, run } from "../support/beds.ts";

const RULES = { requireMount: false, layoutPath: "" };
const SOURCE = join(import.meta.dir, "../../src/location/location.ts");

describeOnBed({ name: "locations", backend: "plain", filesystem: "ext4" }, testLocations, 64 * 1024 ** 2);

function testLocations(bed: Bed): void {
  const opened: Location[] = [];
  let count = 0;

  afterEach(() => {
    for (const location of opened.splice(0)) closeSync(location.fd);
  });

  function open(path: string, rules: Partial<typeof RULES> = {}): Location {
    const location = openLocation(path, { ...RULES, ...rules });
    opened.push(location);
    return location;
  }

  function makeDirectory(): string {
    const path = join(bed.location, `directory-${count++}`);
    mkdirSync(path);
    return path;
  }

  /** What opening gives in a shell's surroundings: "ok", or the error as JSON. */
  function openIn(argv: readonly string[], prepare: string, path: string, ...args: string[]): unknown {
    const code = `
      const { openLocation } = await import("${SOURCE}");
      try { openLocation(${JSON.stringify(path)}, ${JSON.stringify(RULES)}); console.log('"ok"'); }
      catch (thrown) { console.log(JSON.stringify(thrown)); }`;
    const script = `set -e; ${prepare}; exec "$0" -e "$1"`;
    return JSON.parse(run(...argv, "sh", "-c", script, process.execPath, code, ...args));
  }

  /** What opening gives with another /etc/fstab, in a mount namespace of its own. */
  function openWithFstab(path: string, ...lines: string[]): unknown {
    const fstab = join(bed.directory, `fstab-${count++}`);
    writeFileSync(fstab, lines.map((line) => `${line}\n`).join(""));
    return openIn(["unshare", "-m"], 'mount --bind "$2" /etc/fstab', path, fstab);
  }

  test("is the real directory, with its mount and its place in the filesystem", () => {
    const path = makeDirectory();
    symlinkSync(path, `${path}-link`);
    const location = open(`${path}-link`, { layoutPath: "meta" });
    expect(location).toMatchObject({ path, layoutPath: "meta", filesystemMagic: 0xef53 });
    expect(location.mount).toMatchObject({ mountPoint: bed.location, filesystem: "ext4" });
    expect(placeInFilesystem(location, `${path}/a/b`)).toEqual({
      path: `${path}/a/b`,
      device: location.mount.device,
      root: `${path.slice(bed.location.length)}/a/b`,
    });
  });

  test.each([0o777, 0o1777, 0o770, 0o775])("that others may write is refused: mode %o", (mode) => {
    const path = makeDirectory();
    chmodSync(path, mode);
    expect(() => open(path)).toThrow(
      expect.objectContaining({
        code: "INVALID_CONFIG",
        message: expect.stringContaining(`chmod go-w ${path}`),
        details: { location: path, mode: mode.toString(8), uid: 0 },
      }),
    );
    run("chmod", "go-w", path);
    expect(open(path).path).toBe(path);
  });

  test("that is somebody else's is refused", () => {
    const path = makeDirectory();
    chownSync(path, 12345, 0);
    expect(() => open(path)).toThrow(
      expect.objectContaining({
        code: "INVALID_CONFIG",
        message: expect.stringContaining(`chown root ${path}`),
      }),
    );
  });

  test("that must be mounted is refused on the root filesystem, and taken on another", () => {
    expect(() => open("/etc", { requireMount: true })).toThrow(
      expect.objectContaining({
        code: "UNAVAILABLE",
        message: expect.stringContaining(
          'The location "/etc" is not there: the config says requireMount: true',
        ),
        details: { location: "/etc", reason: "not-mounted" },
      }),
    );
    expect(open(makeDirectory(), { requireMount: true }).mount.mountPoint).toBe(bed.location);
  });

  test("on overlayfs is UNSUPPORTED", () => {
    const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) =>
      join(bed.location, name),
    );
    for (const path of [lower, upper, work, merged]) mkdirSync(path ?? "");
    run(
      "mount",
      "-t",
      "overlay",
      "-o",
      `lowerdir=${lower},upperdir=${upper},workdir=${work}`,
      "none",
      merged ?? "",
    );
    try {
      expect(() => open(merged ?? "")).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("is on overlayfs") }),
      );
    } finally {
      run("umount", merged ?? "");
    }
  });

  test("on a filesystem without trusted attributes is UNSUPPORTED", () => {
    expect(() => open("/proc/sys")).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringContaining("has no trusted extended attributes"),
      }),
    );
  });

  test("that does not exist, or is a file, is an error", () => {
    expect(() => open(join(bed.location, "none"))).toThrow("ENOENT");
    writeFileSync(join(bed.location, "file"), "");
    expect(() => open(join(bed.location, "file"))).toThrow("ENOTDIR");
  });

  test("is not seen without the privilege to see records, rather than seen empty", () => {
    const path = makeDirectory();
    expect(openIn(["unshare", "--user", "--map-root-user"], "true", path)).toMatchObject({
      code: "PERMISSION_DENIED",
      message: "Cannot see the records of volumes: this is a user namespace; run it as root of the host",
    });
    expect(
      openIn(["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"], "true", path),
    ).toMatchObject({
      code: "PERMISSION_DENIED",
      message: "Cannot see the records of volumes: CAP_SYS_ADMIN is missing; run it as root of the host",
    });
    expect(openIn([], "true", path)).toBe("ok");
  });

  test("below what /etc/fstab has and is not mounted is UNAVAILABLE, with the command to mount it", () => {
    const path = makeDirectory();
    for (const mountPoint of [path, path.replaceAll("-", "\\055")]) {
      expect(openWithFstab(path, "# a comment", "", `LABEL=x ${mountPoint} ext4 defaults 0 2`)).toMatchObject(
        {
          code: "UNAVAILABLE",
          message: expect.stringContaining(`which is not mounted (mount ${path})`),
          details: { location: path, reason: "not-mounted" },
        },
      );
    }
    const mounted = `LABEL=x ${bed.location} ext4 defaults 0 2`;
    expect(openWithFstab(path, "LABEL=r / ext4 defaults 0 1", mounted, "LABEL=s none swap sw 0 0")).toBe(
      "ok",
    );
    expect(
      openWithFstab(path, `LABEL=y ${path}-other ext4 defaults 0 2`, `#LABEL=z ${path} ext4 x 0 2`),
    ).toBe("ok");
  });

  test("that is a link to below what is not mounted is UNAVAILABLE too", () => {
    const path = makeDirectory();
    symlinkSync(path, join(bed.directory, "link"));
    const line = `LABEL=x ${path} ext4 defaults 0 2`;
    expect(openWithFstab(join(bed.directory, "link"), line)).toMatchObject({ code: "UNAVAILABLE" });
  });

  test("is covered by an fstab entry that has a slash at its end, or a link in its path", () => {
    const path = makeDirectory();
    expect(openWithFstab(path, `LABEL=x ${path}/ ext4 defaults 0 2`)).toMatchObject({ code: "UNAVAILABLE" });
    expect(openWithFstab(path, `LABEL=x ${bed.location}/ ext4 defaults 0 2`)).toBe("ok");
    symlinkSync(bed.location, join(bed.directory, "alias"));
    const aliased = join(bed.directory, "alias", path.slice(bed.location.length));
    expect(openWithFstab(aliased, `LABEL=x ${bed.directory}/alias ext4 defaults 0 2`)).toBe("ok");
  });
}
