import { constants, fstatSync, readFileSync, realpathSync, statfsSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno, NO_ATTRIBUTES, unlessErrno } from "../system/errno.ts";
import { closeFd, fileKeyOf, openDirectory } from "../system/files.ts";
import { getAttribute } from "../system/libc.ts";
import {
  findMountOf,
  isAtOrBelow,
  type Mount,
  pathInFilesystem,
  readOwnMounts,
  unescapeOctal,
} from "../system/mounts.ts";
import { RECORD_ATTRIBUTE } from "./record.ts";

/** The directory that holds a mosaic's volumes, open for as long as the mosaic is. */
export interface Location {
  /** Absolute, without symbolic links. */
  readonly path: string;
  readonly fd: number;
  /** The number that statfs(2) gives for the type of the filesystem. */
  readonly filesystemMagic: number;
  /** The mount through which it is reached. */
  readonly mount: Mount;
  /** The path below the location where the metadata lies; empty when it is the location itself. */
  readonly layoutPath: string;
}

/** What a config says about a location. */
export interface LocationRules {
  readonly requireMount: boolean;
  readonly layoutPath: string;
  /** What errors call it: "location" when absent. */
  readonly what?: string;
}

/** Why a filesystem cannot be a location, by its statfs number: locks, attributes or identities are not reliable there. */
const REFUSED_FILESYSTEMS: Readonly<Record<number, string>> = {
  1702057286: "FUSE",
  24937: "NFS",
  2035054128: "overlayfs",
  4283649346: "CIFS",
  4266872130: "SMB",
};

/**
 * Opens the directory at `path`. Throws UNAVAILABLE when it is not mounted, UNSUPPORTED on a filesystem that cannot hold
 * volumes, PERMISSION_DENIED without the privilege to see records, INVALID_CONFIG when others may write it.
 */
export function openLocation(path: string, rules: LocationRules): Location {
  requirePrivilege();
  const real = calling("realpath", path, () => realpathSync(path));
  const { what = "location" } = rules;
  requireFstabMounts(real, what);
  const fd = openDirectory(real);
  try {
    const filesystemMagic = requireUsableFilesystem(real, fd, what);
    const mount = findMountOf(fd);
    if (rules.requireMount && mount.mountPoint === "/")
      throw notMounted(
        path,
        what,
        "the config says requireMount: true, but nothing is mounted there or above it",
      );
    requirePrivateDirectory(real, fd);
    return { path: real, fd, filesystemMagic, mount, layoutPath: rules.layoutPath };
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}

/** A name of the location that is the same for every process until the next reboot. */
export function identityOf(location: Location): string {
  return fileKeyOf(location.fd).replace(":", "-");
}

/** The path of the location, or of something below it, inside its filesystem. */
export function placeInFilesystem(
  location: Location,
  path: string,
): { path: string; device: string; root: string } {
  return { path, device: location.mount.device, root: pathInFilesystem(location.mount, path) };
}

/** Trusted attributes read as absent without CAP_SYS_ADMIN in the first user namespace: xattr(7). */
function requirePrivilege(): void {
  const CAP_SYS_ADMIN = 21n;
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  const isPrivileged = ((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 1n;
  const isFirstNamespace = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
  if (isPrivileged && isFirstNamespace) return;
  const why = isPrivileged ? "this is a user namespace" : "CAP_SYS_ADMIN is missing";
  throw new MosaicError(
    "PERMISSION_DENIED",
    `Cannot see the records of volumes: ${why}; run it as root of the host`,
  );
}

/** A location whose own fstab entry is not mounted would show the empty directory below it. */
function requireFstabMounts(path: string, what: string): void {
  const fstab = unlessErrno(["ENOENT", "EACCES"], () =>
    calling("open", "/etc/fstab", () => readFileSync("/etc/fstab", "utf8")),
  );
  const entries = (fstab ?? "")
    .split("\n")
    .filter((line) => /^\s*[^#\s]/.test(line))
    .map((line) => unescapeOctal(line.trim().split(/\s+/)[1] ?? ""))
    .map(resolveMountPoint)
    .filter(
      (mountPoint) => mountPoint.startsWith("/") && mountPoint !== "/" && isAtOrBelow(path, mountPoint),
    );
  if (entries.length === 0) return;
  const mounted = new Set(readOwnMounts().map((mount) => mount.mountPoint));
  const missing = entries.find((mountPoint) => !mounted.has(mountPoint));
  if (missing)
    throw notMounted(
      path,
      what,
      `/etc/fstab has a filesystem for ${quote(missing)}, which is not mounted (mount ${missing})`,
    );
}

/** The kernel lists mount points without links and without a slash at the end. */
function resolveMountPoint(mountPoint: string): string {
  if (!mountPoint.startsWith("/")) return "";
  return (
    unlessErrno(["ENOENT", "ENOTDIR", "EACCES", "ELOOP"], () =>
      calling("realpath", mountPoint, () => realpathSync(mountPoint)),
    ) ?? mountPoint
  );
}

function notMounted(path: string, what: string, why: string): MosaicError {
  return new MosaicError("UNAVAILABLE", `The ${what} ${quote(path)} is not there: ${why}`, {
    location: path,
    reason: "not-mounted",
  });
}

function requireUsableFilesystem(path: string, fd: number, what: string): number {
  const magic = calling("statfs", path, () => statfsSync(path)).type >>> 0;
  const refused = REFUSED_FILESYSTEMS[magic];
  if (refused)
    throw new MosaicError(
      "UNSUPPORTED",
      `The ${what} ${quote(path)} is on ${refused}, which cannot hold volumes`,
      { location: path },
    );
  try {
    getAttribute(fd, RECORD_ATTRIBUTE);
  } catch (thrown) {
    if (!hasErrno(thrown, ...NO_ATTRIBUTES)) throw thrown;
    const message = `The filesystem of the ${what} ${quote(path)} has no trusted extended attributes, where records are kept`;
    throw new MosaicError("UNSUPPORTED", message, { location: path }, thrown);
  }
  return magic;
}

function requirePrivateDirectory(path: string, fd: number): void {
  const { S_IWOTH, S_IWGRP } = constants;
  const { mode, uid } = fstatSync(fd);
  if ((mode & (S_IWOTH | S_IWGRP)) === 0 && uid === 0) return;
  const message = `Others may change the location ${quote(path)}: make it root's alone (chown root ${path}; chmod go-w ${path})`;
  throw new MosaicError("INVALID_CONFIG", message, {
    location: path,
    mode: (mode & 0o7777).toString(8),
    uid,
  });
}
