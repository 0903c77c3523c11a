/** One step towards an effect on the host, described so that a person could repeat it. */
export interface Step {
  /** A shell-quoted command, or a call as the command that is nearest to it. */
  readonly text: string;
  readonly kind: "command" | "call";
  /** Whether it only reads, so that a plan may run it. */
  readonly reads?: boolean;
}

/**
 * The one way in which storage is changed. Steps are given to `openMosaic`; wrappers around them log, plan or cancel, so that
 * no backend knows of it: see `loggedSteps`, `plannedSteps`, `cancellableSteps`.
 * @example
 *   const commands: Step[] = [];
 *   const steps: Steps = {
 *     planning: false,
 *     take(step, action, planned) {
 *       if (step.kind === "command") commands.push(step);
 *       return directSteps.take(step, action, planned);
 *     },
 *   };
 *   await using mosaic = await openMosaic("vm", { steps });
 *   await mosaic.createVolume("web", { kind: "fs", sizeBytes: parseSize("512M") });
 */
export interface Steps {
  /** True when changes are only described: what would be read back afterwards is not there. */
  readonly planning: boolean;
  /** Aborted when what is under way shall stop: whatever waits between two steps looks at it. */
  readonly signal?: AbortSignal;
  /** Takes a step and gives its result; a plan gives `planned` in its place. */
  take<T>(step: Step, action: () => T | Promise<T>, planned: T): Promise<T>;
}

/**
 * Steps that are simply taken; the default.
 * @example
 *   await using mosaic = await openMosaic("vm", { steps: directSteps });
 *   console.log(mosaic.listVolumes().length);
 */
export const directSteps: Steps = {
  planning: false,
  take: async (_step, action) => action(),
};

/**
 * Takes each step of `inner`, and then gives its text and its time in milliseconds to `log`.
 * @example
 *   const steps = loggedSteps(directSteps, (text, durationMs) => console.error(durationMs, text));
 *   await using mosaic = await openMosaic("vm", { steps });
 *   await mosaic.createVolume("web", { kind: "fs", sizeBytes: parseSize("512M") });
 */
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

/**
 * Takes only the steps that read. Every other is given to `log` and answered with its planned result, and nothing is changed.
 * @example
 *   const plan: string[] = [];
 *   await using mosaic = await openMosaic("vm", { steps: plannedSteps((text) => plan.push(text)) });
 *   await mosaic.dropVolume("web");
 *   console.log(plan.join("\n"));
 */
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

/**
 * When `signal` is aborted, the next step fails once with signal.reason, and what was done is undone by the steps after it. A
 * wait for a lock ends too. The reason should be a MosaicError with the code CANCELLED, so that callers see nothing else.
 * @example
 *   const stop = new AbortController();
 *   const reason = new MosaicError("CANCELLED", "Stopped");
 *   process.once("SIGTERM", () => stop.abort(reason));
 *   const steps = cancellableSteps(directSteps, stop.signal);
 *   await using mosaic = await openMosaic("vm", { steps });
 *   await mosaic.cloneVolume("golden", "web-1");
 */
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
