import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "./measure.ts";

/** An image that a storage daemon shows as a file. */
export interface Exported {
  readonly image: string;
  /** The file that is shown. */
  readonly path: string;
  readonly pid: number;
}

/** Makes an image of qcow2 and shows it as moctl does, with further options for its file: blockdev-add in qemu-storage-daemon-qmp-ref(7). */
export function makeExported(directory: string, name: string, sizeBytes: number, options: object): Exported {
  const inDirectory = (end: string) => join(directory, `${name}.${end}`);
  const [image, path, pidFile] = [inDirectory("qcow2"), inDirectory("raw"), inDirectory("pid")];
  runProgram({ argv: ["qemu-img", "create", "-q", "-f", "qcow2", image, String(sizeBytes)] });
  writeFileSync(path, "");
  const file = { driver: "file", filename: image, discard: "unmap", "node-name": "file", ...options };
  const node = { driver: "qcow2", file: "file", discard: "unmap", "node-name": "image" };
  const shown = { type: "fuse", id: "export", "node-name": "image", mountpoint: path, writable: true };
  const nodes = [file, node].flatMap((part) => ["--blockdev", JSON.stringify(part)]);
  const program = ["qemu-storage-daemon", ...nodes, "--export", JSON.stringify(shown)];
  runProgram({ argv: [...program, "--daemonize", "--pidfile", pidFile] });
  return { image, path, pid: Number(readFileSync(pidFile, "utf8")) };
}

/** Ends what shows an image. */
export function endExported({ pid }: Exported): void {
  process.kill(pid, "SIGTERM");
  while (isAlive(pid)) Bun.sleepSync(5);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
