import { MosaicError } from "../base/errors.ts";
import type { Id } from "./messages.ts";

/** The calls that are not answered yet, by their ids. */
export class InFlight {
  private readonly calls = new Map<Id, AbortController>();

  get size(): number {
    return this.calls.size;
  }

  has(id: Id): boolean {
    return this.calls.has(id);
  }

  /** Begins a call whose id is not in flight. */
  begin(id: Id): AbortController {
    const controller = new AbortController();
    this.calls.set(id, controller);
    return controller;
  }

  end(id: Id): void {
    this.calls.delete(id);
  }

  /** Stops the call with an id as it lies in params; one that is unknown or has ended is ignored. */
  cancel(id: unknown): void {
    const controller = this.calls.get(JSON.stringify(id) as Id) ?? this.findByNumber(id);
    controller?.abort(cancelled("client", "The client cancelled the call; what was begun is undone"));
  }

  /** Stops all calls. */
  cancelAll(): void {
    for (const controller of this.calls.values())
      controller.abort(cancelled("shutdown", "The server is shutting down; what was begun is undone"));
  }

  /** Number in params and number of the id may be written in different ways. */
  private findByNumber(id: unknown): AbortController | undefined {
    if (typeof id !== "number") return undefined;
    return [...this.calls].find(([text]) => Number(text) === id)?.[1];
  }
}

/** The error of a call that was stopped. */
export function cancelled(reason: "client" | "deadline" | "shutdown", message: string): MosaicError {
  return new MosaicError("CANCELLED", message, { reason });
}
