/** One step towards an effect on the host, described so that a person could repeat it. */
export interface Step {
  /** A shell-quoted command, or a call with its arguments. */
  readonly text: string;
  readonly kind: "command" | "call";
  /** Whether it only reads, so that a plan may run it. */
  readonly reads?: boolean;
}

/**
 * The one way in which storage is changed. Logging, planning, cancelling and fault injection wrap it, so that no
 * backend knows them: see `loggedSteps`, `plannedSteps`, `cancellableSteps`.
 */
export interface Steps {
  /** True when changes are only described: what would be read back afterwards is not there. */
  readonly planning: boolean;
  /** Aborted when what is under way shall stop: whatever waits between two steps looks at it. */
  readonly signal?: AbortSignal;
  /** Takes a step and gives its result; a plan gives `planned` in its place. */
  take<T>(step: Step, action: () => T | Promise<T>, planned: T): Promise<T>;
}

/** Steps that are simply taken. */
export const directSteps: Steps = {
  planning: false,
  take: async (_step, action) => action(),
};

/** Takes each step of `inner` and then hands its text and time in milliseconds to `log`. */
export function loggedSteps(inner: Steps, log: (text: string, durationMs: number) => void): Steps {
  return {
    planning: inner.planning,
    async take(step, action, planned) {
      const start = performance.now();
      try {
        return await inner.take(step, action, planned);
      } finally {
        log(step.text, performance.now() - start);
      }
    },
  };
}

/** Takes only the steps that read; each change is handed to `log` and answered with its planned result. */
export function plannedSteps(log: (text: string) => void): Steps {
  return {
    planning: true,
    async take(step, action, planned) {
      if (step.reads) return action();
      log(step.text);
      return planned;
    },
  };
}

/** Fails once, before the next step, when `signal` is aborted; the steps that undo what was done then pass. */
export function cancellableSteps(inner: Steps, signal: AbortSignal): Steps {
  let cancelled = false;
  return {
    planning: inner.planning,
    signal,
    async take(step, action, planned) {
      if (signal.aborted && !cancelled) {
        cancelled = true;
        throw signal.reason;
      }
      return inner.take(step, action, planned);
    },
  };
}

/** `argv` as a line that a POSIX shell reads back as the same words. */
export function shellQuote(argv: readonly string[]): string {
  return argv
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(" ");
}
