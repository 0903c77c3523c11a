/** Bytes that come in pieces, joined in linear time however small the pieces are. */
export class ByteQueue {
  private buffer = Buffer.alloc(0);
  private start = 0;
  private end = 0;

  get length(): number {
    return this.end - this.start;
  }

  append(piece: Uint8Array): void {
    if (this.end + piece.length > this.buffer.length) this.makeRoom(piece.length);
    this.buffer.set(piece, this.end);
    this.end += piece.length;
  }

  /** What is there, without taking it; it changes with the next call. */
  peek(): Buffer {
    return this.buffer.subarray(this.start, this.end);
  }

  /** Takes bytes from the front; the result stays as it is. */
  take(count: number): Buffer {
    const taken = Buffer.from(this.buffer.subarray(this.start, this.start + count));
    this.drop(count);
    return taken;
  }

  drop(count: number): void {
    this.start += count;
    if (this.start < this.end) return;
    this.start = 0;
    this.end = 0;
    // One long message is no reason to keep its memory.
    if (this.buffer.length > 1024 ** 2) this.buffer = Buffer.alloc(0);
  }

  private makeRoom(count: number): void {
    const { length } = this;
    const isWasteful = this.start > this.buffer.length / 2 && length + count <= this.buffer.length;
    const next = isWasteful ? this.buffer : Buffer.alloc(Math.max(4096, 2 * (length + count)));
    this.buffer.copy(next, 0, this.start, this.end);
    this.buffer = next;
    this.start = 0;
    this.end = length;
  }
}
