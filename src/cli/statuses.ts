import type { ErrorCode } from "../base/errors.ts";
import { EXIT_CODES, EXIT_INPUT_BROKEN, EXIT_OUTPUT_LOST, EXIT_PIPE_CLOSED } from "./exitcodes.ts";

// What the help and the manual say of exit statuses. Loaded only for them.

/** An exit status, and when it comes. */
export interface Status {
  /** A number, or 128+N. */
  readonly status: string;
  /** The code of the error; undefined when there is none. */
  readonly code?: ErrorCode;
  /** In a few words. */
  readonly brief: string;
  /** When it comes, and what to do. */
  readonly when: string;
}

type Words = Pick<Status, "brief" | "when">;

const OF_ERRORS: Readonly<Record<ErrorCode, Words>> = {
  TOOL_FAILED: {
    brief: "failed",
    when: "a tool or system call failed; details have argv, exitCode and stderr of a tool, or call and errno",
  },
  PERMISSION_DENIED: {
    brief: "failed",
    when: "run it as root of the host; an immutable file inside a volume that is dropped: chattr as the message says",
  },
  CANCELLED: { brief: "stopped by signal N", when: "stopped by signal N; what was begun is undone" },
  INVALID_ARGUMENT: {
    brief: "wrong usage or config",
    when: "wrong usage, a wrong name or size: see the message",
  },
  INVALID_CONFIG: { brief: "wrong usage or config", when: "see config.txt" },
  NOT_FOUND: {
    brief: "not found",
    when: "no such volume, config, mount or device; details.reason is absent, foreign, other-volume, not-mounted or not-attached",
  },
  ALREADY_EXISTS: { brief: "exists", when: "the name is taken" },
  BUSY: { brief: "in use", when: "in use; details.holders says by what. Unmount, detach or end it" },
  LOCKED: {
    brief: "locked",
    when: "another process works on the volume, details.pids; wait longer: --wait",
  },
  NO_SPACE: { brief: "no space", when: "the filesystem or quota is full; drop still works" },
  UNSUPPORTED: { brief: "not supported", when: "this type or location cannot do it" },
  UNAVAILABLE: {
    brief: "not available now",
    when: "this host cannot do it now: mount the location, install the package",
  },
  DAMAGED: {
    brief: "damaged",
    when: "record and storage contradict each other, or a filesystem is broken: look at what the message names",
  },
  INTERNAL: { brief: "a bug", when: "a bug in moctl: run it again with --debug and report it" },
};

/** All exit statuses, in the order of their numbers; a signal's comes last. */
export function listStatuses(): Status[] {
  const codes = Object.keys(OF_ERRORS) as ErrorCode[];
  const ofErrors = codes.map((code) => ({
    status: code === "CANCELLED" ? "128+N" : String(EXIT_CODES[code]),
    code,
    ...OF_ERRORS[code],
  }));
  const all: Status[] = [{ status: "0", brief: "done", when: "done" }, ...ofErrors, ...ofStreams()];
  const isSignal = ({ status }: Status) => status.includes("+");
  return all.sort((a, b) =>
    isSignal(a) || isSignal(b)
      ? Number(isSignal(a)) - Number(isSignal(b))
      : Number(a.status) - Number(b.status),
  );
}

function ofStreams(): Status[] {
  return [
    {
      status: String(EXIT_INPUT_BROKEN),
      brief: "broken input",
      when: "the stream of messages on standard input is broken; only of a server for agents",
    },
    {
      status: String(EXIT_OUTPUT_LOST),
      brief: "output lost",
      when: "standard output could not be written, for example on a full disk; the action itself was done",
    },
    {
      status: String(EXIT_PIPE_CLOSED),
      brief: "reader gone",
      when: "the reader of standard output went away; the action itself was done",
    },
  ];
}
