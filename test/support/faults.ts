import { MosaicError } from "../../src/base/errors.ts";
import { directSteps, type Step, type Steps } from "../../src/system/steps.ts";

/** What happens at the chosen step. */
export type FaultMode =
  /** The step fails before it did anything. */
  | "fail"
  /** The process is killed before the step. */
  | "kill-before"
  /** The process is killed after a call, or while a command runs. */
  | "kill-after";

/** Steps of which one does not go well: the `at`-th, counted from 1, or the first whose text matches. `count` is how many came. */
export class FaultySteps implements Steps {
  readonly planning = false;
  count = 0;
  fired: Step | undefined;

  constructor(
    private readonly at: number | RegExp,
    private readonly mode: FaultMode,
  ) {}

  async take<T>(step: Step, action: () => T | Promise<T>, planned: T): Promise<T> {
    this.count++;
    if (!this.isDue(step)) return directSteps.take(step, action, planned);
    this.fired = step;
    if (this.mode === "fail")
      throw new MosaicError("TOOL_FAILED", `injected before: ${step.text}`, { injected: true });
    if (this.mode === "kill-after") begin(action);
    process.kill(process.pid, "SIGKILL");
    throw new Error("not reached: the process is dead");
  }

  private isDue({ text }: Step): boolean {
    if (typeof this.at === "number") return this.count === this.at;
    return !this.fired && this.at.test(text);
  }
}

/** Begins an action; one that fails at once has been begun too. */
function begin(action: () => unknown): void {
  try {
    void action();
  } catch {}
}
