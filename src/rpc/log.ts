/** What may wait to be written; beyond it lines are dropped and counted. */
const WAITING_MAX_BYTES = 64 * 1024;

/** Lines of JSON for whoever reads standard error. It never blocks and never grows: nobody may read it. */
export class Log {
  private waitingBytes = 0;
  private dropped = 0;
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
      .then(() => Bun.write(Bun.stderr, line))
      .catch(() => {})
      .then(() => {
        this.waitingBytes -= line.length;
      });
  }
}
