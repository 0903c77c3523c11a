/**
 * What takes a change back, the last part first. Where one fails the parts before it stay done: a disk that is larger with its new
 * partition is whole, one that is small again with the new partition is not.
 */
export class TakeBack {
  private readonly actions: (() => Promise<void>)[] = [];

  defer(action: () => Promise<void>): void {
    this.actions.push(action);
  }

  /** Can be called again after a failure, and goes on there. */
  async run(): Promise<void> {
    for (let action = this.actions.at(-1); action; action = this.actions.at(-1)) {
      await action();
      this.actions.pop();
    }
  }
}
