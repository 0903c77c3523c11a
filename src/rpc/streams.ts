import { moveDescriptor } from "../system/libc.ts";

/** So much may wait to be written before the server stops reading. */
const WAITING_MAX_BYTES = 1024 ** 2;
/** The protocol is moved away from the descriptors that a library or a child might write to. */
const PROTOCOL_FD_MIN = 10;

/** Writes the messages of the server. The only one that does. */
export class MessageWriter {
  private readonly sink;
  private waiting: string[] = [];
  private waitingBytes = 0;
  private flushing: Promise<void> | undefined;
  /** Why nothing can be written any more. */
  failure: unknown;

  /** Takes the protocol off standard output: what else writes there goes to standard error from now on. */
  constructor() {
    const fd = moveDescriptor(1, PROTOCOL_FD_MIN, 2);
    this.sink = Bun.file(fd).writer();
  }

  /** Whether so much waits that the client does not keep up. */
  get isFull(): boolean {
    return this.waitingBytes > WAITING_MAX_BYTES;
  }

  /** Sends bytes of a message, together with all others of this turn. */
  send(text: string): void {
    if (this.failure !== undefined) return;
    this.waiting.push(text);
    this.waitingBytes += text.length;
    this.flushing ??= this.flushAll();
  }

  /** Waits until less than the limit waits to be written: so a client that does not read is not read from. */
  async whenReady(): Promise<void> {
    while (this.failure === undefined && this.isFull) await this.flushing;
  }

  /** Waits until all is written, or nothing can be. */
  async whenFlushed(): Promise<void> {
    while (this.flushing) await this.flushing;
  }

  private async flushAll(): Promise<void> {
    // Answers of one turn go together.
    await Promise.resolve();
    try {
      while (this.waiting.length > 0) {
        const text = this.waiting.join("");
        this.waiting = [];
        // Only the write rejects when the reader is gone, only the flush waits for it.
        await Promise.all([this.sink.write(text), this.sink.flush()]);
        this.waitingBytes = this.waiting.reduce((sum, part) => sum + part.length, 0);
      }
    } catch (thrown) {
      this.failure = thrown;
      this.waiting = [];
    } finally {
      this.flushing = undefined;
    }
  }
}
