import { constants, fstatSync, openSync } from "node:fs";

const STANDARD_ERROR = 2;
/** What may wait to be written; beyond it lines are dropped and counted. */
const WAITING_MAX_BYTES = 64 * 1024;

/** Lines of JSON for whoever reads standard error. It never blocks and never grows: nobody may read it. */
export class Log {
  private waitingBytes = 0;
  private dropped = 0;
  private sink: Bun.FileSink | undefined;
  private last: Promise<unknown> = Promise.resolve();

  write(level: "info" | "warn" | "error", message: string, more: object = {}): void {
    const line = `${JSON.stringify({ t: new Date().toISOString(), level, msg: message, ...more, ...(this.dropped > 0 && { dropped: this.dropped }) })}\n`;
    if (this.waitingBytes + line.length > WAITING_MAX_BYTES) {
      this.dropped++;
      return;
    }
    this.dropped = 0;
    this.waitingBytes += line.length;
    this.last = this.last
      .then(() => this.writeLine(line))
      .catch(() => {})
      .then(() => {
        this.waitingBytes -= line.length;
      });
  }

  private async writeLine(line: string): Promise<void> {
    this.sink ??= Bun.file(openUnshared()).writer();
    // Only the write rejects when the reader is gone, only the flush waits for it.
    await Promise.all([this.sink.write(line), this.sink.flush()]);
  }
}

/**
 * A descriptor for standard error that may be made non-blocking, which a sink does: O_NONBLOCK belongs to the open file
 * description, and others share that of standard error (open(2)). A file keeps it, for its offset; a socket cannot be
 * opened again.
 */
function openUnshared(): number {
  const about = fstatSync(STANDARD_ERROR);
  if (!about.isFIFO() && !about.isCharacterDevice()) return STANDARD_ERROR;
  try {
    return openSync(
      `/proc/self/fd/${STANDARD_ERROR}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
  } catch {
    // A pipe without a reader.
    return STANDARD_ERROR;
  }
}
