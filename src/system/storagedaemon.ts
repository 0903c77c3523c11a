import { closeSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { basename } from "node:path";
import { type ErrorCode, MosaicError } from "../base/errors.ts";
import { calling } from "./errno.ts";
import { type FileKey, findStatus, listDirectory, toFileKey } from "./files.ts";
import { unmountPath } from "./libc.ts";
import { listProcesses, readAllMounts, readOwnMounts } from "./mounts.ts";
import { askMonitor, type QmpCommand } from "./qmp.ts";
import { EXPORT_NAME, makeRunDirectory } from "./rundir.ts";
import { runTool } from "./runner.ts";
import { type Steps, shellQuote } from "./steps.ts";

// qemu-storage-daemon(1) shows the content of an image as a file, by FUSE: `raw` in a directory of its own below /run.
// It goes on by itself, so it gets no descriptor of ours, and is found again by its arguments, which name that directory.

const MONITOR_NAME = "qmp";
const END_DEADLINE_MS = 30_000;

/** An image as QEMU opens it: blockdev-add in qemu-storage-daemon-qmp-ref(7). The driver is always named, never probed. */
export interface BlockNode {
  readonly driver: string;
  readonly "node-name"?: string;
  readonly "read-only": boolean;
  readonly discard: "unmap";
  readonly file: {
    readonly driver: "file";
    readonly filename: string;
    readonly "read-only": boolean;
    readonly discard: "unmap";
  };
  /** The node below; null where there is none, so that QEMU follows no name in the image; absent where the format knows none. */
  readonly backing?: BlockNode | null;
}

/** The part of a disk that is shown, in bytes; all of it from `offset` on where there is no `size`. */
export interface Window {
  readonly offset: number;
  readonly size?: number;
}

/** Images that lie one over another and whose driver takes no `backing`: from the lowest on, each is put over the one before it. */
export interface LayeredNode {
  readonly layers: readonly BlockNode[];
  readonly window: Window;
  readonly "read-only": boolean;
}

/** The name of the node that shows the window of a layered image. */
export const WINDOW_NODE = "window";

/** The file that shows the image of an export. */
export function exportPathOf(directory: string): string {
  return `${directory}/${EXPORT_NAME}`;
}

/**
 * Starts a daemon that shows the image `node`, and waits until its file is there; the directory is one below /run that this process has locked.
 * Throws BUSY when another process has the image open.
 */
export async function startDaemon(
  steps: Steps,
  directory: string,
  node: BlockNode | LayeredNode,
): Promise<void> {
  const path = exportPathOf(directory);
  if (!steps.planning) {
    prepareDirectory(directory);
    if (!findStatus(path)) closeSync(calling("open", path, () => openSync(path, "wx", 0o600)));
  }
  if (!("layers" in node)) {
    const exported = describeExport(directory, String(node["node-name"]), node["read-only"]);
    await runDaemon(steps, directory, [node], ["--export", JSON.stringify(exported)]);
    return;
  }
  await runDaemon(steps, directory, node.layers, []);
  const exported = describeExport(directory, WINDOW_NODE, node["read-only"]);
  await commandDaemon(steps, directory, [
    ...layNodes(node),
    { execute: "block-export-add", arguments: exported },
  ]);
}

/** What puts the layers of an image one over another: only what is in no other node can be put over one, so the window comes last. */
export function layNodes({ layers, window, "read-only": readOnly }: LayeredNode): QmpCommand[] {
  const names = layers.map((layer) => String(layer["node-name"]));
  const snapshots = names.slice(1).map((overlay, index) => ({
    execute: "blockdev-snapshot",
    arguments: { node: names[index], overlay },
  }));
  const shown = describeWindow(String(names.at(-1)), window, readOnly);
  return [...snapshots, { execute: "blockdev-add", arguments: shown }];
}

/** The node that shows a part of another one. */
export function describeWindow(node: string, window: Window, readOnly: boolean): Record<string, unknown> {
  const rules = { "read-only": readOnly, discard: "unmap" };
  return { driver: "raw", "node-name": WINDOW_NODE, file: node, ...window, ...rules };
}

function describeExport(directory: string, node: string, readOnly: boolean): Record<string, unknown> {
  const mountpoint = exportPathOf(directory);
  return { type: "fuse", id: "export", "node-name": node, mountpoint, writable: !readOnly };
}

/** Runs a daemon with these nodes, which goes on when its socket and all that it shows are there. Throws BUSY as `startDaemon`. */
export async function runDaemon(
  steps: Steps,
  directory: string,
  nodes: readonly BlockNode[],
  shown: readonly string[],
): Promise<void> {
  const socket = `socket,id=monitor,server=on,wait=off,path=${directory.replaceAll(",", ",,")}/${MONITOR_NAME}`;
  const parts = nodes.flatMap(splitNode).flatMap((part) => ["--blockdev", JSON.stringify(part)]);
  const args = [...parts, "--chardev", socket, "--monitor", "chardev=monitor", ...shown, "--daemonize"];
  const options = { deadlineMs: END_DEADLINE_MS, translate: translateWords };
  await runTool(steps, "qemu-storage-daemon", args, options);
}

/**
 * A node as two, its file a node of its own: when a snapshot makes the image read-only, QEMU would open the file anew that belongs to
 * it alone, by its name, under which by then another image lies.
 */
export function splitNode({ file, ...node }: BlockNode): Record<string, unknown>[] {
  const name = fileNodeOf(String(node["node-name"]));
  return [
    { ...file, "node-name": name },
    { ...node, file: name },
  ];
}

/** The name of the node of the file of a node. */
export function fileNodeOf(node: string): string {
  return `${node}-file`;
}

/** The process that shows an image in a directory; undefined when there is none. */
export function findDaemon(directory: string): number | undefined {
  const path = JSON.stringify(`${directory}/`).slice(1, -1);
  return listProcesses().find((pid) => readDaemonArguments(pid).some((word) => word.includes(path)));
}

/** Whether a process is stopped, as by SIGSTOP or a debugger: then whoever reads or writes what it shows waits. */
export function isStopped(pid: number): boolean {
  return ["T", "t"].includes(readStatus(pid)[0] ?? "");
}

/** The arguments of a process that is a storage daemon; none of any other one. */
export function readDaemonArguments(pid: number): string[] {
  const argv = readArguments(pid);
  return basename(argv[0] ?? "") === "qemu-storage-daemon" ? argv : [];
}

/** Gives commands to the monitor of a daemon; gives what each returned. Throws TOOL_FAILED, UNAVAILABLE. */
export function askDaemon(directory: string, commands: readonly QmpCommand[]): Promise<unknown[]> {
  return askMonitor(`${directory}/${MONITOR_NAME}`, commands);
}

/** Whether a process has a file open. */
export function hasOpen(pid: number, file: FileKey): boolean {
  return listDirectory(`/proc/${pid}/fd`).some((fd) => {
    const status = statOrNothing(`/proc/${pid}/fd/${fd}`);
    return status !== undefined && toFileKey(status.dev, status.ino) === file;
  });
}

/** The name of the node that a daemon shows now. Throws UNAVAILABLE. */
export async function findShownNode(directory: string): Promise<string | undefined> {
  const [exports] = await askDaemon(directory, [{ execute: "query-block-exports" }]);
  return (exports as { "node-name"?: string }[] | undefined)?.[0]?.["node-name"];
}

/** The names of the nodes of a daemon. Throws UNAVAILABLE. */
export async function listNodes(directory: string): Promise<string[]> {
  const command = { execute: "query-named-block-nodes", arguments: { flat: true } };
  const [nodes] = await askDaemon(directory, [command]);
  return (nodes as { "node-name": string }[]).map((node) => node["node-name"]);
}

/** Gives commands that change something to the monitor of a daemon. Throws TOOL_FAILED, UNAVAILABLE. */
export function commandDaemon(
  steps: Steps,
  directory: string,
  commands: readonly QmpCommand[],
): Promise<void> {
  const socket = `${directory}/${MONITOR_NAME}`;
  const lines = commands.map((command) => JSON.stringify(command));
  const text = `printf '%s\\n' ${shellQuote(lines)} | socat - UNIX-CONNECT:${socket}`;
  return steps.take<void>(
    { text, kind: "call" },
    async () => void (await askDaemon(directory, commands)),
    undefined,
  );
}

/** Whether the file of an export is mounted here; it may be in another mount namespace only. */
export function isShownHere(directory: string): boolean {
  const path = exportPathOf(directory);
  return readOwnMounts().some((mount) => mount.mountPoint === path);
}

/** Whether the file of an export is mounted anywhere, also when its daemon is dead. */
export function isShown(directory: string): boolean {
  const path = exportPathOf(directory);
  return readAllMounts().some((mount) => mount.mountPoint === path && mount.filesystem.startsWith("fuse"));
}

/** Ends the daemon of a directory, whatever of it is left, and removes the directory. Throws BUSY when it does not end. */
export function endDaemon(steps: Steps, directory: string): Promise<void> {
  const text = shellQuote(["pkill", "--full", exportPathOf(directory)]);
  return steps.take({ text, kind: "call" }, () => removeDaemon(directory), undefined);
}

/** What `endDaemon` does, as a part of another step. */
export async function removeDaemon(directory: string): Promise<void> {
  const pid = findDaemon(directory);
  if (pid !== undefined) await endProcess(pid, directory);
  // One that was killed leaves its mount, on which every call fails.
  while (isShownHere(directory)) unmountPath(exportPathOf(directory));
  calling("rm", directory, () => rmSync(directory, { recursive: true, force: true }));
}

/** By SIGTERM it writes all that it has, and takes its file away. */
async function endProcess(pid: number, directory: string): Promise<void> {
  const start = readStartTime(pid);
  if (start === undefined) return;
  if (isStopped(pid)) {
    const message = `the storage daemon, process ${pid}, is stopped, and cannot end: kill -CONT ${pid}`;
    throw new MosaicError("BUSY", message, { pid, directory });
  }
  process.kill(pid, "SIGTERM");
  const deadline = performance.now() + END_DEADLINE_MS;
  // Its arguments go before it has closed the image.
  while (readStartTime(pid) === start) {
    if (performance.now() > deadline) {
      const message = `the storage daemon, process ${pid}, does not end: it may wait for a disk`;
      throw new MosaicError("BUSY", message, { pid, directory });
    }
    await Bun.sleep(5);
  }
}

/** Makes the directory of a daemon, without the socket of one that died. */
export function prepareDirectory(directory: string): void {
  makeRunDirectory(directory);
  calling("rm", directory, () => rmSync(`${directory}/${MONITOR_NAME}`, { force: true }));
}

/** QEMU says so where another process has the image open. */
function translateWords(words: string): ErrorCode | undefined {
  return /Failed to (get|lock)|another process using the image/.test(words) ? "BUSY" : undefined;
}

/** When a process began, in ticks since boot, so that it is not taken for a later one with its number; undefined when it has ended. */
function readStartTime(pid: number): string | undefined {
  const fields = readStatus(pid);
  return fields[0] === "Z" ? undefined : fields[19];
}

/** The state of a process and what proc_pid_stat(5) tells after it; nothing when it has ended. */
function readStatus(pid: number): string[] {
  try {
    // The name before it, in parentheses, may have blanks.
    return readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
  } catch {
    return [];
  }
}

function readArguments(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

function statOrNothing(path: string) {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}
