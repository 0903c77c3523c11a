import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";

/** One line of a mountinfo file: proc_pid_mountinfo(5). */
export interface Mount {
  readonly id: number;
  readonly parentId: number;
  /** The device number of the filesystem, such as "7:3"; anonymous for btrfs. */
  readonly device: string;
  /** The directory of the filesystem that is mounted: "/" or a subvolume or bound directory. */
  readonly root: string;
  readonly mountPoint: string;
  readonly readOnly: boolean;
  readonly filesystem: string;
  readonly source: string;
  readonly superOptions: readonly string[];
  /** The mount namespace, such as "mnt:[4026531840]", and one process in it. */
  readonly namespace: string;
  readonly pid: number;
}

/** The mounts that this process sees. */
export function readOwnMounts(): Mount[] {
  return readMountinfo("self", readNamespace("self") ?? "self", process.pid);
}

/**
 * The mounts in the mount namespace of every process, each once: the kernel gives every mount an id of its own. The pid
 * is that of a process that is still there when this one has ended.
 */
export function readAllMounts(): Mount[] {
  const own = readNamespace("self");
  const processes = listProcesses().filter((pid) => pid !== process.pid);
  const namespaces = processes.map((pid) => [pid, readNamespace(String(pid))] as const);
  const [peer = process.pid] = namespaces.find(([, namespace]) => namespace === own) ?? [];
  const mounts = new Map(readOwnMounts().map((mount) => [mount.id, { ...mount, pid: peer }]));
  const seen = new Set([own]);
  for (const [pid, namespace] of namespaces) {
    // A namespace that cannot be named is read all the same: better a mount twice than not at all.
    if (namespace !== undefined && seen.has(namespace)) continue;
    seen.add(namespace);
    for (const mount of readMountinfo(String(pid), namespace ?? `unknown (pid ${pid})`, pid)) {
      if (!mounts.has(mount.id)) mounts.set(mount.id, mount);
    }
  }
  return [...mounts.values()];
}

/** The mount through which a file is open, found by the mount id that the kernel keeps for the descriptor. */
export function findMountOf(fd: number): Mount {
  const id = mountIdOf(fd);
  const mount = readOwnMounts().find((candidate) => candidate.id === id);
  if (mount) return mount;
  const path = readlinkSync(`/proc/self/fd/${fd}`);
  const advice = "in a chroot, make its root a mount point (mount --bind ROOT ROOT)";
  const message = `the mount of ${JSON.stringify(path)} is not in /proc/self/mountinfo: ${advice}`;
  throw new MosaicError("UNAVAILABLE", message, { path });
}

/** The id of the mount through which a file is open, the same in every mount namespace: proc_pid_fdinfo(5). */
export function mountIdOf(fd: number): number {
  return Number(/^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1]);
}

/** The path by which this process reaches a mount, also one in another mount namespace. */
export function pathFromHere(mount: Mount): string {
  return mount.namespace === readNamespace("self")
    ? mount.mountPoint
    : `/proc/${mount.pid}/root${mount.mountPoint}`;
}

/** The path inside its filesystem of `path`, which is below the mount point of `mount`. */
export function pathInFilesystem(mount: Mount, path: string): string {
  const below = mount.mountPoint === "/" ? path : path.slice(mount.mountPoint.length);
  return `${mount.root === "/" ? "" : mount.root}${below}` || "/";
}

/** Whether `path` is `directory` or below it. */
export function isAtOrBelow(path: string, directory: string): boolean {
  return path === directory || directory === "/" || path.startsWith(`${directory}/`);
}

/** The process ids of this pid namespace. */
export function listProcesses(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function readNamespace(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

function readMountinfo(pidName: string, namespace: string, pid: number): Mount[] {
  return readStable(`/proc/${pidName}/mountinfo`)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => parseMountinfoLine(line, namespace, pid));
}

/** The table may change while it is read, so it is read until it is the same twice; empty when the process is gone. */
function readStable(path: string): string {
  try {
    let text = readFileSync(path, "utf8");
    for (let attempt = 0; attempt < 10; attempt++) {
      const again = readFileSync(path, "utf8");
      if (again === text) break;
      text = again;
    }
    return text;
  } catch {
    return "";
  }
}

/** One line of mountinfo. Throws INTERNAL on a shape that the kernel does not write. */
export function parseMountinfoLine(line: string, namespace: string, pid: number): Mount {
  const fields = line.split(" ");
  const separator = fields.indexOf("-", 6);
  const [id, parentId, device, root, mountPoint, options] = fields;
  const [filesystem, source, superOptions] = fields.slice(separator + 1);
  if (
    separator < 0 ||
    device === undefined ||
    root === undefined ||
    mountPoint === undefined ||
    filesystem === undefined
  ) {
    throw new MosaicError("INTERNAL", `Cannot read the mountinfo line ${JSON.stringify(line)}`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescapeOctal(root),
    mountPoint: unescapeOctal(mountPoint),
    readOnly: (options ?? "").split(",").includes("ro"),
    filesystem,
    source: unescapeOctal(source ?? ""),
    superOptions: (superOptions ?? "").split(","),
    namespace,
    pid,
  };
}

/** The kernel writes blank, tab, newline and backslash as \040, \011, \012 and \134, and other bytes as they are. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
