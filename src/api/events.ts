import { constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling } from "../system/errno.ts";
import { closeFd, findStatus } from "../system/files.ts";
import { tryLock } from "../system/libc.ts";
import { keepOldRunFile, makeRunDirectory, replaceRunFile, runDirectoryOf } from "../system/rundir.ts";

// What happens to the volumes of a location, told to every process that wants to know: a bounded file of JSON lines under
// /run, which a reboot makes void. Whoever changes something appends a line; losing one is never a reason to fail.

/** What happened to a volume. */
export type EventType =
  | "created"
  | "cloned"
  | "dropped"
  | "adopted"
  | "resized"
  | "attached"
  | "detached"
  | "mounted"
  | "unmounted";

/** One thing that happened. */
export interface Event {
  /** Rises by one for each event of a location; after a reboot it begins again. */
  readonly seq: number;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly type: EventType;
  /** The process that did it. */
  readonly pid: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Beyond this size a file of events becomes the old one, and the older one goes. */
const FILE_MAX_BYTES = 256 * 1024;
const LINE_MAX_BYTES = 4096;
const LOCK_DEADLINE_MS = 1_000;

/** The file with the events of a storage. */
export function eventFileOf(identity: string): string {
  return `${runDirectoryOf(identity)}/events`;
}

/** Appends an event; gives false where it could not be written. */
export async function appendEvent(
  identity: string,
  type: EventType,
  data: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  try {
    const path = eventFileOf(identity);
    makeRunDirectory(runDirectoryOf(identity));
    const fd = await openLocked(path);
    try {
      appendLine(path, fd, { type, pid: process.pid, data });
    } finally {
      closeFd(fd);
    }
    return true;
  } catch (thrown) {
    if (thrown instanceof MosaicError) return false;
    throw thrown;
  }
}

/** The events in the text of a file; a line that is none is left out. */
export function parseEvents(text: string): Event[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .flatMap((line) => parseEvent(line) ?? []);
}

function parseEvent(line: string): Event | undefined {
  try {
    const event = JSON.parse(line) as Event;
    return Number.isSafeInteger(event.seq) && typeof event.type === "string" ? event : undefined;
  } catch {
    return undefined;
  }
}

/** The file as it is now, locked: one that was renamed while we waited is no longer it. */
async function openLocked(path: string): Promise<number> {
  const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
  const deadline = performance.now() + LOCK_DEADLINE_MS;
  for (;;) {
    const fd = calling("open", path, () => openSync(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600));
    try {
      while (!tryLock(fd)) {
        if (performance.now() > deadline)
          throw new MosaicError("LOCKED", `${quote(path)} is locked`, { path });
        await Bun.sleep(1);
      }
      if (findStatus(path)?.ino === fstatSync(fd, { bigint: true }).ino) return fd;
    } catch (thrown) {
      closeFd(fd);
      throw thrown;
    }
    closeFd(fd);
  }
}

function appendLine(path: string, fd: number, event: Omit<Event, "seq" | "time">): void {
  const seq = (readLast(path, fd)?.seq ?? 0) + 1;
  const line = Buffer.from(`${JSON.stringify({ seq, time: new Date().toISOString(), ...event })}\n`);
  const { size } = fstatSync(fd);
  if (size + line.length > FILE_MAX_BYTES) {
    // Readers find the full one beside the new one.
    keepOldRunFile(path);
    replaceRunFile(path, line.toString());
    return;
  }
  const written = calling("write", path, () => writeSync(fd, line));
  // A line that was cut by a full filesystem would swallow the next one.
  if (written < line.length) calling("ftruncate", path, () => ftruncateSync(fd, size));
}

function readLast(path: string, fd: number): Event | undefined {
  const { size } = fstatSync(fd);
  const buffer = Buffer.alloc(Math.min(size, 2 * LINE_MAX_BYTES));
  calling("read", path, () => readSync(fd, buffer, 0, buffer.length, size - buffer.length));
  return parseEvents(buffer.toString()).at(-1);
}
