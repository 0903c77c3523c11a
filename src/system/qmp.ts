import { connect } from "node:net";
import { MosaicError } from "../base/errors.ts";

// The monitor of a storage daemon: QMP, one JSON object on a line, qemu-storage-daemon-qmp-ref(7).

const DEADLINE_MS = 20_000;
const ANSWER_MAX_BYTES = 1024 ** 2;

/** A command of the monitor. */
export interface QmpCommand {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

interface Message {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly desc?: string };
}

/** Gives commands one after another to the monitor behind a socket; gives what each returned. Throws TOOL_FAILED at the first that fails, UNAVAILABLE when nobody answers. */
export function askMonitor(socketPath: string, commands: readonly QmpCommand[]): Promise<unknown[]> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown[]>();
  const answers: unknown[] = [];
  const pending: QmpCommand[] = [{ execute: "qmp_capabilities" }, ...commands];
  let text = "";
  let current: QmpCommand | undefined;
  const socket = connect({ path: socketPath });
  const fail = (error: MosaicError) => reject(error);
  const answer = (message: Message) => {
    if (message.error) return fail(refused(current, message.error.desc ?? "it says not why"));
    // Events come in between.
    if (message.QMP === undefined && message.return === undefined) return;
    if (current) answers.push(message.return);
    current = pending.shift();
    if (current) socket.write(`${JSON.stringify(current)}\n`);
    else resolve(answers.slice(1));
  };
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    if (text.length > ANSWER_MAX_BYTES) return fail(silent(socketPath, "its answer has no end"));
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    try {
      for (const line of lines) answer(JSON.parse(line) as Message);
    } catch (thrown) {
      fail(silent(socketPath, `it answered ${(thrown as Error).message}`));
    }
  });
  socket.on("error", (error) => fail(silent(socketPath, error.message)));
  socket.on("close", () => fail(silent(socketPath, "it closed the connection")));
  const timer = setTimeout(() => fail(silent(socketPath, "it does not answer in time")), DEADLINE_MS);
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

function refused(command: QmpCommand | undefined, words: string): MosaicError {
  const message = `the storage daemon refused ${command?.execute ?? "to listen"}: ${words}`;
  return new MosaicError("TOOL_FAILED", message, { command: command?.execute ?? null, stderr: words });
}

function silent(path: string, why: string): MosaicError {
  return new MosaicError("UNAVAILABLE", `the storage daemon at ${JSON.stringify(path)} fails: ${why}`, {
    path,
  });
}
