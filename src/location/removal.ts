import { constants, readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno } from "../system/errno.ts";
import { closeFd, openDirectory } from "../system/files.ts";
import { openBeneath, renameAt, unlinkAt } from "../system/libc.ts";
import { type Steps, shellQuote } from "../system/steps.ts";

/** After so many entries other work of this process gets its turn. */
const BATCH = 1000;

/** A name as the bytes that it is: what lies in a volume need not be UTF-8. */
type FileName = Buffer;

/**
 * Removes a directory with all that is in it, never across a mount, never through a link, at any depth with three
 * descriptors: what lies deep is first moved up. Throws BUSY at a mount, PERMISSION_DENIED at an immutable file; it can
 * then be called again.
 */
export function removeTree(steps: Steps, path: string): Promise<void> {
  const text = shellQuote(["rm", "-r", "--one-file-system", path]);
  return steps.take<void>({ text, kind: "call" }, () => removeAll(path), undefined);
}

async function removeAll(path: string): Promise<void> {
  const parentFd = openDirectory(dirname(path));
  try {
    const topFd = openBeneath(parentFd, basename(path), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await new TreeRemoval(topFd, path).run();
    } finally {
      closeFd(topFd);
    }
    unlinkAt(parentFd, basename(path), true);
  } finally {
    closeFd(parentFd);
  }
}

class TreeRemoval {
  private readonly prefix = `.removed-${crypto.randomUUID()}-`;
  private moved = 0;
  private removed = 0;

  constructor(
    private readonly topFd: number,
    private readonly topPath: string,
  ) {}

  async run(): Promise<void> {
    const pending = await this.empty(this.topFd, (name) => name);
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      const fd = openBeneath(this.topFd, name, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        pending.push(...(await this.empty(fd, (child) => this.moveUp(fd, child))));
      } finally {
        closeFd(fd);
      }
      this.removeDirectory(this.topFd, name);
    }
  }

  /** Removes the entries of a directory; of those directories that are not empty it gives what `keep` names them. */
  private async empty(directoryFd: number, keep: (name: FileName) => FileName): Promise<FileName[]> {
    const kept: FileName[] = [];
    for (const name of listEntries(directoryFd, this.topPath)) {
      if (!this.removeFile(directoryFd, name) && !this.removeDirectory(directoryFd, name))
        kept.push(keep(name));
      if (++this.removed % BATCH === 0) await Bun.sleep(0);
    }
    return kept;
  }

  /** False when it is a directory. */
  private removeFile(directoryFd: number, name: FileName): boolean {
    return this.unlink(directoryFd, name, false, "EISDIR");
  }

  /** False when it is not empty. */
  private removeDirectory(directoryFd: number, name: FileName): boolean {
    return this.unlink(directoryFd, name, true, "ENOTEMPTY");
  }

  private unlink(directoryFd: number, name: FileName, isDirectory: boolean, unfit: string): boolean {
    try {
      unlinkAt(directoryFd, name, isDirectory);
      return true;
    } catch (thrown) {
      if (hasErrno(thrown, unfit)) return false;
      throw this.explain(name, thrown);
    }
  }

  private moveUp(directoryFd: number, name: FileName): FileName {
    const target = Buffer.from(`${this.prefix}${this.moved++}`);
    try {
      renameAt(directoryFd, name, this.topFd, target);
      return target;
    } catch (thrown) {
      throw this.explain(name, thrown);
    }
  }

  private explain(name: FileName, thrown: unknown): unknown {
    const subject = `${quote(name.toString())} in ${quote(this.topPath)}`;
    const details = { path: this.topPath, name: name.toString() };
    if (hasErrno(thrown, "EPERM", "EACCES")) {
      const advice = `it is immutable or append-only: ${shellQuote(["chattr", "-R", "-ia", this.topPath])}`;
      return new MosaicError("PERMISSION_DENIED", `Cannot remove ${subject}: ${advice}`, details, thrown);
    }
    if (!hasErrno(thrown, "EBUSY", "EXDEV")) return thrown;
    return new MosaicError("BUSY", `Cannot remove ${subject}: something is mounted there`, details, thrown);
  }
}

function listEntries(directoryFd: number, topPath: string): FileName[] {
  return calling("readdir", topPath, () =>
    readdirSync(`/proc/self/fd/${directoryFd}`, { encoding: "buffer" }),
  );
}
