import { rmSync } from "node:fs";
import { MosaicError } from "../base/errors.ts";
import { calling } from "./errno.ts";
import { findStatus } from "./files.ts";
import { listProcesses } from "./mounts.ts";
import { runDirectoryOf } from "./rundir.ts";
import { type Steps, shellQuote } from "./steps.ts";
import {
  askDaemon,
  type BlockNode,
  commandDaemon,
  type LayeredNode,
  layNodes,
  prepareDirectory,
  readDaemonArguments,
  removeDaemon,
  runDaemon,
  WINDOW_NODE,
} from "./storagedaemon.ts";

// A storage daemon that shows an image at a unix socket, `nbd` in its directory, for programs that speak NBD. It has the
// default export, whose name is empty: doc/interop/nbd.txt of QEMU, doc/uri.md of NBD.

const SOCKET_NAME = "nbd";
const EXPORT = "export";

/** A server that runs. */
export interface Server {
  readonly pid: number;
  readonly uri: string;
  readonly readOnly: boolean;
}

/** The URI by which clients find the server of a directory. */
export function serverUriOf(directory: string): string {
  const path = socketOf(directory).split("/").map(encodeURIComponent).join("/");
  return `nbd+unix:///?socket=${path}`;
}

/** Starts a server of the image `node`, in a directory that this process has locked. Throws BUSY when another process has the image open. */
export async function startServer(
  steps: Steps,
  directory: string,
  node: BlockNode | LayeredNode,
): Promise<void> {
  if (!steps.planning) {
    prepareDirectory(directory);
    calling("rm", directory, () => rmSync(socketOf(directory), { force: true }));
  }
  const server = { addr: { type: "unix", path: socketOf(directory) } };
  const name = "layers" in node ? WINDOW_NODE : node["node-name"];
  const shown = { type: "nbd", id: EXPORT, "node-name": name, name: "", writable: !node["read-only"] };
  const args = ["--nbd-server", JSON.stringify(server)];
  if (!("layers" in node)) {
    await runDaemon(steps, directory, [node], [...args, "--export", JSON.stringify(shown)]);
    return;
  }
  await runDaemon(steps, directory, node.layers, args);
  await commandDaemon(steps, directory, [
    ...layNodes(node),
    { execute: "block-export-add", arguments: shown },
  ]);
}

/** The server of a directory; undefined when none runs. */
export function findServer(directory: string): Server | undefined {
  if (!hasServed(directory)) return undefined;
  for (const pid of listProcesses()) {
    const server = readServer(pid);
    if (server?.uri === serverUriOf(directory)) return server;
  }
  return undefined;
}

/** Whether a directory has the socket of a server, which may have died. */
export function hasServed(directory: string): boolean {
  return findStatus(socketOf(directory)) !== undefined;
}

/** The server that a process is; undefined when it is none of moctl. */
export function readServer(pid: number): Server | undefined {
  const argv = readDaemonArguments(pid);
  const address = argv[argv.indexOf("--nbd-server") + 1] ?? "";
  const path = /^\{"addr":\{"type":"unix","path":(".*")\}\}$/.exec(address)?.[1];
  if (path === undefined) return undefined;
  const directory = (JSON.parse(path) as string).slice(0, -`/${SOCKET_NAME}`.length);
  if (!directory.startsWith(`${runDirectoryOf()}/`)) return undefined;
  return {
    pid,
    uri: serverUriOf(directory),
    readOnly: !argv.some((word) => word.includes('"read-only":false')),
  };
}

/** Ends the server of a directory, and removes the directory. Throws BUSY while a client is connected. */
export function endServer(steps: Steps, directory: string): Promise<void> {
  const text = shellQuote(["pkill", "--full", socketOf(directory)]);
  return steps.take<void>({ text, kind: "call" }, () => removeServer(directory), undefined);
}

async function removeServer(directory: string): Promise<void> {
  const [shown] = await askDaemon(directory, [{ execute: "query-block-exports" }]);
  try {
    const command = { execute: "block-export-del", arguments: { id: EXPORT, mode: "safe" } };
    // One whose run was killed here has none any more.
    if ((shown as unknown[]).length > 0) await askDaemon(directory, [command]);
  } catch (thrown) {
    if (!(thrown instanceof MosaicError) || thrown.code !== "TOOL_FAILED") throw thrown;
    const uri = serverUriOf(directory);
    const holders = [{ kind: "device", device: uri, attached: true }];
    const message = `a client is connected to ${uri}: shut down the machine that uses it first`;
    throw new MosaicError("BUSY", message, { device: uri, holders }, thrown);
  }
  await removeDaemon(directory);
}

function socketOf(directory: string): string {
  return `${directory}/${SOCKET_NAME}`;
}
