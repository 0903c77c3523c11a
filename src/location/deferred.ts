import { MosaicError } from "../base/errors.ts";

/** Actions at the end of a scope, the last one first; what fails of them is left to the next sweep. */
export class Deferred implements AsyncDisposable {
  private actions: (() => Promise<void>)[] = [];

  defer(action: () => Promise<void>): void {
    this.actions.push(action);
  }

  cancel(): void {
    this.actions = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const action of this.actions.reverse()) {
      await this.attempt(action);
    }
  }

  /** A stop that comes now is for what is over: the action it hits is done all the same. */
  private async attempt(action: () => Promise<void>): Promise<void> {
    for (let isSecond = false; ; isSecond = true) {
      try {
        return await action();
      } catch (thrown) {
        if (!(thrown instanceof MosaicError)) throw thrown;
        if (thrown.code !== "CANCELLED" || isSecond) return;
      }
    }
  }
}
