import { readdirSync, readFileSync, rmSync } from "node:fs";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, unlessErrno } from "../system/errno.ts";
import { closeFd, findStatus, openDirectory } from "../system/files.ts";
import { tryLock } from "../system/libc.ts";
import { makeRunDirectory, replaceRunFile, runDirectoryOf } from "../system/rundir.ts";
import { makeRoomFor } from "./forgetting.ts";

// Jobs outlive the answer to the call that started them, and their results the process that ran them: each is a directory
// below /run with its state, whose flock the process that runs it holds. A free lock under a state that is not an end
// tells that the process died.

/** How far a job is. */
export type JobState = "queued" | "running" | "cancelling" | "done" | "failed" | "cancelled" | "interrupted";

/** A call that runs in the background. */
export interface Job {
  readonly id: string;
  /** The method that was called. */
  readonly kind: string;
  readonly state: JobState;
  readonly progress: number | null;
  readonly cancellable: boolean;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly updatedAt: string;
  /** The process that runs it, or ran it. */
  readonly pid: number;
  /** What it was asked. */
  readonly params: object;
  /** What the call answers, when it is done. */
  readonly result: object | null;
  /** Why it failed, or was cancelled. */
  readonly error: object | null;
}

const ENDS: readonly JobState[] = ["done", "failed", "cancelled", "interrupted"];
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Of more, the oldest that have ended are forgotten. */
const KEEP_MAX = 10_000;
const STATE_MAX_BYTES = 8 * 1024 ** 2;

/** The jobs of a storage. */
export class JobStore {
  private readonly directory: string;

  /** @param kind the directory of the jobs, for different sets of them */
  constructor(
    identity: string,
    kind = "jobs",
    private readonly most = KEEP_MAX,
  ) {
    this.directory = `${runDirectoryOf(identity)}/${kind}`;
  }

  /** Begins a job; undefined when there is one with its id. Throws INVALID_ARGUMENT for an id that cannot be one. */
  begin(job: Job): OpenJob | undefined {
    requireId(job.id);
    makeRunDirectory(this.directory);
    const path = `${this.directory}/${job.id}`;
    if (findStatus(`${path}/state`)) return undefined;
    makeRoomFor(this.directory, this.most, (id) => this.forget(id));
    makeRunDirectory(path);
    const fd = openDirectory(path);
    // Another process began one with this id at the same moment.
    if (!tryLock(fd) || findStatus(`${path}/state`)) {
      closeFd(fd);
      return undefined;
    }
    writeState(path, job);
    return new OpenJob(path, fd, job);
  }

  /** A job. Throws NOT_FOUND. */
  get(id: string): Job {
    requireId(id);
    const job = this.find(id);
    if (job) return job;
    throw new MosaicError("NOT_FOUND", `There is no job ${quote(id)}`, { job: id });
  }

  /** All jobs, the oldest first. */
  list(): Job[] {
    const ids = unlessErrno(["ENOENT"], () =>
      calling("readdir", this.directory, () => readdirSync(this.directory)),
    );
    const jobs = (ids ?? []).flatMap((id) => this.find(id) ?? []);
    return jobs.sort((a, b) => a.createdAt.localeCompare(b.createdAt));
  }

  /** Forgets a job that has ended. Throws NOT_FOUND, BUSY while it runs. */
  dismiss(id: string): void {
    const job = this.get(id);
    if (!hasEnded(job)) throw new MosaicError("BUSY", `The job ${quote(id)} is ${job.state}`, { job: id });
    this.remove(id);
  }

  private find(id: string): Job | undefined {
    const path = `${this.directory}/${id}`;
    const job = readState(path);
    if (!job || hasEnded(job)) return job;
    const fd = unlessErrno(["ENOENT"], () => openDirectory(path));
    if (fd === undefined) return undefined;
    try {
      if (!tryLock(fd)) return job;
      // It may have ended between the reading and the lock.
      const last = readState(path);
      if (!last || hasEnded(last)) return last;
      const interrupted: Job = { ...last, state: "interrupted", cancellable: false, updatedAt: now() };
      writeState(path, interrupted);
      return interrupted;
    } finally {
      closeFd(fd);
    }
  }

  /** Forgets a job that has ended, or was never begun. */
  private forget(id: string): void {
    const job = this.find(id);
    if (!job || hasEnded(job)) this.remove(id);
  }

  private remove(id: string): void {
    const path = `${this.directory}/${id}`;
    calling("rm", path, () => rmSync(path, { recursive: true, force: true }));
  }
}

/** A job that this process runs. */
export class OpenJob {
  constructor(
    private readonly path: string,
    private readonly fd: number,
    private current: Job,
  ) {}

  /** How it is now. */
  get job(): Job {
    return this.current;
  }

  /** Writes what has changed; after an end it is nobody's any more. */
  update(change: Partial<Omit<Job, "id" | "kind" | "createdAt">>): void {
    this.current = { ...this.current, ...change, updatedAt: now() };
    writeState(this.path, this.current);
    if (hasEnded(this.current)) closeFd(this.fd);
  }
}

/** Whether a job will not change any more. */
export function hasEnded({ state }: Job): boolean {
  return ENDS.includes(state);
}

function requireId(id: string): void {
  if (ID.test(id)) return;
  const rule = "letters, digits, '.', '_' and '-', with a letter or digit in front, at most 128";
  throw new MosaicError("INVALID_ARGUMENT", `Invalid id of a job ${quote(id.slice(0, 80))}: ${rule}`, {
    job: id.slice(0, 128),
  });
}

function now(): string {
  return new Date().toISOString();
}

function readState(path: string): Job | undefined {
  const text = unlessErrno(["ENOENT", "ENOTDIR"], () =>
    calling("read", path, () => readFileSync(`${path}/state`, "utf8")),
  );
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Job);
  } catch {
    return undefined;
  }
}

function writeState(path: string, job: Job): void {
  const text = JSON.stringify(job);
  replaceRunFile(
    `${path}/state`,
    text.length > STATE_MAX_BYTES ? JSON.stringify({ ...job, result: null }) : text,
  );
}
