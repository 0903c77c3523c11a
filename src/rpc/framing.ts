import { ByteQueue } from "./bytes.ts";

// How messages lie in a stream of bytes: one JSON text on each line, or each behind a header with its length, as the
// Language Server Protocol has it. The first bytes of the client tell which; it holds for the connection.

/** The two framings. */
export type Framing = "ndjson" | "lsp";

/** What a stream of bytes has: a message, a message that was too long and is skipped, or nothing that can be read on. */
export type Frame =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "too-large" }
  | { readonly kind: "broken"; readonly reason: string };

/** The longest message, and the longest header, in bytes. */
export const MESSAGE_MAX_BYTES = 16 * 1024 ** 2;
const HEADER_MAX_BYTES = 8 * 1024;

const LF = 10;
const CR = 13;
const RECORD_SEPARATOR = 0x1e;
/** A header field's name is a token of RFC 9110, and no JSON-RPC message begins with one. */
const HEADER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:/;

/** Takes frames out of the bytes of a stream, in whatever pieces they come. */
export class FrameReader {
  private decoder: LineDecoder | HeaderDecoder | undefined;
  private readonly begin = new ByteQueue();

  constructor(private wanted: Framing | "auto") {
    if (wanted !== "auto") this.decoder = makeDecoder(wanted);
  }

  /** The framing; undefined until the first bytes have told it. */
  get framing(): Framing | undefined {
    return this.wanted === "auto" ? undefined : this.wanted;
  }

  push(piece: Uint8Array): Frame[] {
    if (this.decoder) return this.decoder.push(piece);
    this.begin.append(piece);
    const framing = recognize(this.begin.peek());
    return framing ? this.startAs(framing) : [];
  }

  /** What is left at the end of the stream. */
  end(): Frame[] {
    const first = this.decoder ? [] : this.startAs("ndjson");
    return [...first, ...(this.decoder?.end() ?? [])];
  }

  private startAs(framing: Framing): Frame[] {
    this.wanted = framing;
    this.decoder = makeDecoder(framing);
    return this.decoder.push(skipBegin(this.begin.take(this.begin.length)));
  }
}

function makeDecoder(framing: Framing): LineDecoder | HeaderDecoder {
  return framing === "lsp" ? new HeaderDecoder() : new LineDecoder();
}

/** Undefined while more bytes are needed. */
function recognize(bytes: Buffer): Framing | undefined {
  const rest = skipBegin(bytes);
  if (rest.length === 0) return undefined;
  if (rest[0] === 0x7b || rest[0] === 0x5b) return "ndjson";
  const end = rest.indexOf(LF);
  if (end < 0 && rest.length < HEADER_MAX_BYTES) return undefined;
  return HEADER.test(rest.toString("latin1", 0, HEADER_MAX_BYTES)) ? "lsp" : "ndjson";
}

/** Without a byte order mark, a record separator and white space in front. */
function skipBegin(bytes: Buffer): Buffer {
  const BLANKS = [0x20, 0x09, LF, CR, RECORD_SEPARATOR];
  let start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (BLANKS.includes(bytes[start] ?? -1)) start++;
  return bytes.subarray(start);
}

class LineDecoder {
  private readonly begun = new ByteQueue();
  private isSkipping = false;

  push(piece: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let start = 0;
    for (let end = piece.indexOf(LF); end >= 0; end = piece.indexOf(LF, start)) {
      frames.push(...this.finish(piece.subarray(start, end)));
      start = end + 1;
    }
    this.keep(piece.subarray(start));
    return frames;
  }

  end(): Frame[] {
    return this.finish(new Uint8Array(0));
  }

  private keep(rest: Uint8Array): void {
    if (this.isSkipping) return;
    if (this.begun.length + rest.length > MESSAGE_MAX_BYTES) {
      this.begun.drop(this.begun.length);
      this.isSkipping = true;
    } else if (rest.length > 0) this.begun.append(rest);
  }

  private finish(rest: Uint8Array): Frame[] {
    const isShort = !this.isSkipping && this.begun.length === 0 && rest.length <= MESSAGE_MAX_BYTES;
    if (!isShort) this.keep(rest);
    if (this.isSkipping) {
      this.isSkipping = false;
      return [{ kind: "too-large" }];
    }
    const bytes = trimLine(isShort ? rest : this.begun.take(this.begun.length));
    return bytes.length > 0 ? [{ kind: "message", bytes }] : [];
  }
}

/** Without what some clients put around a JSON text: a record separator, a carriage return; empty when it is blank. */
function trimLine(line: Uint8Array): Uint8Array {
  const start = line[0] === RECORD_SEPARATOR ? 1 : 0;
  const end = line.at(-1) === CR ? line.length - 1 : line.length;
  const text = line.subarray(start, Math.max(start, end));
  return text.some((byte) => byte !== 0x20 && byte !== 0x09) ? text : new Uint8Array(0);
}

class HeaderDecoder {
  private readonly bytes = new ByteQueue();
  private bodyBytes: number | undefined;
  private isBroken = false;

  push(piece: Uint8Array): Frame[] {
    if (this.isBroken) return [];
    this.bytes.append(piece);
    const frames: Frame[] = [];
    for (let frame = this.next(); frame && !this.isBroken; frame = this.next()) {
      this.isBroken = frame.kind === "broken";
      frames.push(frame);
    }
    return frames;
  }

  end(): Frame[] {
    if (this.isBroken || (this.bodyBytes === undefined && this.bytes.length === 0)) return [];
    return [{ kind: "broken", reason: "the stream ended inside a frame" }];
  }

  private next(): Frame | undefined {
    if (this.bodyBytes === undefined) {
      const header = this.takeHeader();
      if (header === undefined) return undefined;
      if (typeof header !== "number") return header;
      this.bodyBytes = header;
    }
    if (this.bytes.length < this.bodyBytes) return undefined;
    const bytes = this.bytes.take(this.bodyBytes);
    this.bodyBytes = undefined;
    return { kind: "message", bytes };
  }

  /** The length of the body; undefined while the header is not whole. */
  private takeHeader(): number | Frame | undefined {
    const end = this.bytes.peek().indexOf("\r\n\r\n");
    if (end < 0 && this.bytes.length <= HEADER_MAX_BYTES) return undefined;
    if (end < 0 || end > HEADER_MAX_BYTES)
      return { kind: "broken", reason: `a header has at most ${HEADER_MAX_BYTES} bytes` };
    const text = this.bytes.take(end + 4).toString("latin1");
    return parseHeader(text.slice(0, end));
  }
}

function parseHeader(text: string): number | Frame {
  const fields = new Map(
    text
      .split("\r\n")
      .map((line) => [
        line.slice(0, line.indexOf(":")).toLowerCase(),
        line.slice(line.indexOf(":") + 1).trim(),
      ]),
  );
  const length = fields.get("content-length") ?? "";
  const charset = /charset\s*=\s*"?([^";\s]+)/i.exec(fields.get("content-type") ?? "")?.[1] ?? "utf-8";
  if (!/^utf-?8$/i.test(charset)) return { kind: "broken", reason: `the charset ${charset} is not utf-8` };
  if (!/^\d{1,15}$/.test(length)) return { kind: "broken", reason: "Content-Length is missing or no number" };
  if (Number(length) > MESSAGE_MAX_BYTES)
    return { kind: "broken", reason: `a message has at most ${MESSAGE_MAX_BYTES} bytes` };
  return Number(length);
}

/** A message's text as bytes of a stream. */
export function frameMessage(framing: Framing, text: string): string {
  return framing === "lsp" ? `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}` : `${text}\n`;
}
