import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { isAtOrBelow, listProcesses, type Mount, pathInFilesystem, readAllMounts } from "./mounts.ts";

/**
 * Who keeps a volume busy; details.holders of BUSY is a list of them. Mounts are found in the mount namespace of every process.
 * @example
 *   try {
 *     await mosaic.dropVolume("web");
 *   } catch (error) {
 *     if (!(error instanceof MosaicError) || error.code !== "BUSY") throw error;
 *     for (const holder of error.details.holders as Holder[])
 *       if (holder.kind === "process") console.log(holder.pid, holder.command);
 *   }
 */
export type Holder =
  | {
      readonly kind: "mount";
      readonly path: string;
      readonly pid: number;
      readonly namespace: string;
      readonly readOnly: boolean;
    }
  | { readonly kind: "process"; readonly pid: number; readonly command: string; readonly path: string }
  | { readonly kind: "device"; readonly device: string; readonly attached: boolean };

/** A directory as the kernel knows it in every namespace: its filesystem, and its path in there. */
export interface DirectoryPlace {
  readonly path: string;
  readonly device: string;
  readonly root: string;
}

/** The holder in words, such as `mounted at "/srv/web" (pid 812, mnt:[4026532])`. */
export function describeHolder(holder: Holder): string {
  if (holder.kind === "mount")
    return `mounted at ${JSON.stringify(holder.path)} (pid ${holder.pid}, ${holder.namespace})`;
  if (holder.kind === "device") return `${holder.attached ? "attached as" : "used by"} ${holder.device}`;
  return `open in process ${holder.pid} (${holder.command}): ${JSON.stringify(holder.path)}`;
}

/** The mounts of a directory, of anything below it, and those that lie inside it. */
export function findDirectoryMounts(
  place: DirectoryPlace,
  mounts: readonly Mount[] = readAllMounts(),
): Holder[] {
  return surveyDirectoryMounts(mounts)(place);
}

/** The same for many directories: each mount is put once under every directory that it is at or below. */
export function surveyDirectoryMounts(mounts: readonly Mount[]): (place: DirectoryPlace) => Holder[] {
  const byId = new Map(mounts.map((mount) => [mount.id, mount]));
  const byDirectory = new Map<string, Set<Mount>>();
  for (const mount of mounts) {
    for (const place of [mount, findMountPointPlace(mount, byId.get(mount.parentId))]) {
      for (const directory of place ? listAncestors(place.root) : []) {
        const key = `${place?.device} ${directory}`;
        byDirectory.set(key, (byDirectory.get(key) ?? new Set()).add(mount));
      }
    }
  }
  return ({ device, root }) => [...(byDirectory.get(`${device} ${root}`) ?? [])].map(toHolder);
}

/** The path itself and every directory above it. */
function listAncestors(path: string): string[] {
  const ends = [...path.matchAll(/\//g)].map(({ index }) => index).slice(1);
  return ["/", ...ends.map((end) => path.slice(0, end)), ...(path === "/" ? [] : [path])];
}

/** Where a mount point lies in the filesystem below it. */
function findMountPointPlace(
  mount: Mount,
  parent: Mount | undefined,
): Pick<Mount, "device" | "root"> | undefined {
  if (!parent || !isAtOrBelow(mount.mountPoint, parent.mountPoint)) return undefined;
  return { device: parent.device, root: pathInFilesystem(parent, mount.mountPoint) };
}

/** The mounts of a block device such as "/dev/loop3" with number "7:3". */
export function findDeviceMounts(
  device: string,
  number: string,
  mounts: readonly Mount[] = readAllMounts(),
): Mount[] {
  // btrfs shows an anonymous number, so there the source has to do, which may be another name of the device.
  return mounts.filter(
    (mount) =>
      mount.device === number ||
      (mount.filesystem === "btrfs" && (mount.source === device || isNodeOf(mount.source, number))),
  );
}

/** Who uses a block device: mounts, devices stacked on it, processes that have it open, by whatever name. */
export function findBlockHolders(device: string, number: string): Holder[] {
  const mounts = findDeviceMounts(device, number).map(toHolder);
  const isDevice = (open: string) => open === device || isNodeOf(open, number);
  return [...mounts, ...findStackedDevices(device.slice("/dev/".length)), ...findProcesses(device, isDevice)];
}

/** Whether a path below /dev is a node of the block device with this number. */
function isNodeOf(path: string, number: string): boolean {
  if (!path.startsWith("/dev/")) return false;
  const [major, minor] = number.split(":").map(Number);
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status?.isBlockDevice()) return false;
  const { rdev } = status;
  return ((rdev >>> 8) & 0xfff) === major && ((rdev & 0xff) | ((rdev >>> 12) & 0xfff00)) === minor;
}

/** A mount as a holder. */
export function toHolder(mount: Mount): Holder {
  return {
    kind: "mount",
    path: mount.mountPoint,
    pid: mount.pid,
    namespace: mount.namespace,
    readOnly: mount.readOnly,
  };
}

/**
 * The processes that have a path open, run it, or work or live in it, for which `matches` is true. A process of this
 * very program that has `lockedPath` itself open only waits for its lock, or looks which device belongs to which file.
 */
export function findProcesses(
  lockedPath: string,
  matches: (path: string, link: string) => boolean,
): Holder[] {
  return listProcesses()
    .filter((pid) => pid !== process.pid)
    .flatMap((pid) => findOpenPath(pid, matches) ?? [])
    .filter((holder) => holder.path !== lockedPath || !isSameProgram(holder.pid));
}

function isSameProgram(pid: number): boolean {
  try {
    const [own, other] = [statSync("/proc/self/exe"), statSync(`/proc/${pid}/exe`)];
    return own.dev === other.dev && own.ino === other.ino;
  } catch {
    return false;
  }
}

/** Devices that are stacked on a block device such as "loop3": device-mapper, md, or another loop device. */
export function findStackedDevices(name: string): Holder[] {
  const stacked = readDirectory(`/sys/block/${name}/holders`);
  const loops = readDirectory("/sys/block").filter(
    (other) =>
      other.startsWith("loop") && readText(`/sys/block/${other}/loop/backing_file`) === `/dev/${name}`,
  );
  return [...stacked, ...loops].map((other) => ({
    kind: "device",
    device: `/dev/${other}`,
    attached: false,
  }));
}

type OpenPath = Extract<Holder, { kind: "process" }>;

function findOpenPath(pid: number, matches: (path: string, link: string) => boolean): OpenPath | undefined {
  const links = [`/proc/${pid}/cwd`, `/proc/${pid}/root`, `/proc/${pid}/exe`];
  for (const fd of readDirectory(`/proc/${pid}/fd`)) links.push(`/proc/${pid}/fd/${fd}`);
  for (const link of links) {
    const path = readLink(link);
    if (path !== undefined && matches(path, link))
      return { kind: "process", pid, command: readText(`/proc/${pid}/comm`), path };
  }
  return undefined;
}

function readDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
