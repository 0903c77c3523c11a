import { constants, fstatSync, openSync, readSync, watch } from "node:fs";
import { calling, unlessErrno } from "../system/errno.ts";
import { closeFd, findStatus } from "../system/files.ts";
import { makeRunDirectory, runDirectoryOf } from "../system/rundir.ts";
import { type Event, eventFileOf, parseEvents } from "./events.ts";

/** Events in their order; between two with a gap in their numbers, what was lost. */
export type Notice =
  | { readonly kind: "event"; readonly event: Event }
  | { readonly kind: "lost"; readonly from: number; readonly to: number };

/** The events of a storage as they come, from every process of this host. */
export class EventWatch {
  private readonly path: string;
  private readonly watcher: ReturnType<typeof watch>;
  private position = { inode: 0n, offset: 0 };
  private lastSeq = 0;

  /** Watches from now on; `since` is the number of the last event that is known already. Throws DAMAGED. */
  constructor(
    identity: string,
    private readonly tell: (notice: Notice) => void,
    since?: number,
  ) {
    this.path = eventFileOf(identity);
    const directory = runDirectoryOf(identity);
    makeRunDirectory(directory);
    const present = this.readNew();
    this.lastSeq = since ?? present.at(-1)?.seq ?? 0;
    for (const event of present) this.pass(event);
    this.watcher = watch(directory, () => this.look());
    // What came between the reading and the watch.
    this.look();
  }

  /** The number of the last event that was told. */
  get seq(): number {
    return this.lastSeq;
  }

  /** Tells what has come; the watch does it by itself. */
  look(): void {
    for (const event of this.readNew()) this.pass(event);
  }

  close(): void {
    this.watcher.close();
  }

  private pass(event: Event): void {
    if (event.seq <= this.lastSeq) return;
    if (event.seq > this.lastSeq + 1) this.tell({ kind: "lost", from: this.lastSeq + 1, to: event.seq - 1 });
    this.lastSeq = event.seq;
    this.tell({ kind: "event", event });
  }

  /** What was appended since the last look; first the rest of a file that was renamed meanwhile. */
  private readNew(): Event[] {
    const inode = findStatus(this.path)?.ino;
    if (inode === undefined) return [];
    const isNew = inode !== this.position.inode;
    const rest = isNew ? this.readFrom(`${this.path}.old`, this.position.inode, this.position.offset) : "";
    const text = this.readFrom(this.path, inode, isNew ? 0 : this.position.offset);
    // A line that is being written ends with the next look.
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    this.position = {
      inode,
      offset: (isNew ? 0 : this.position.offset) + Buffer.byteLength(whole),
    };
    return parseEvents(rest + whole);
  }

  /** The text of a file from an offset; nothing when another file is there now. On the first look the old file is whole. */
  private readFrom(path: string, inode: bigint, offset: number): string {
    const fd = unlessErrno(["ENOENT"], () =>
      calling("open", path, () => openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)),
    );
    if (fd === undefined) return "";
    try {
      const status = fstatSync(fd, { bigint: true });
      if (status.ino !== inode && inode !== 0n) return "";
      const buffer = Buffer.alloc(Math.max(0, Number(status.size) - offset));
      const bytes = calling("read", path, () => readSync(fd, buffer, 0, buffer.length, offset));
      return buffer.toString("utf8", 0, bytes);
    } finally {
      closeFd(fd);
    }
  }
}
