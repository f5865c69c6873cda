/**
 * A push parser for POP3 responses (RFC 1939 §3): bytes in, calls out. It knows no sockets, commands or strings.
 *
 * Message bytes are handed on as slices of what was pushed. In the body the only bytes that matter are CR LF followed by
 * a dot, so one native search per run of text finds both the terminator and the stuffed dots.
 */
import { statusLineBytesMax } from './limits.ts';

export interface ReplyHandler {
  /** A status line without its line end, to be read at once. True when a multi-line body follows. */
  status(line: Buffer): boolean;
  /** Bytes of the body with dots unstuffed and the line ends that the server sent, a bare LF as CRLF in LF mode. */
  data(chunk: Buffer): void;
  /** The terminator was read. */
  end(): void;
  /** The error to throw when the response breaks a bound. */
  violation(what: string): Error;
}

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const CRLF = Buffer.from('\r\n');
const CRLF_DOT = Buffer.from('\r\n.');
const STUFFED = { dot: Buffer.from('.'), dotCr: Buffer.from('.\r') };

type State =
  | 'status'
  | 'text' // within a line of the body
  | 'cr' // a CR of the body was handed on
  | 'line-start'
  | 'dot' // a dot at a line start is held back
  | 'dot-cr'; // and the CR behind it

export class ReplyParser {
  readonly #handler: ReplyHandler;
  #state: State = 'status';
  /** The beginning of a status line whose end has not come. */
  #partial: Buffer[] = [];
  #partialBytes = 0;
  /**
   * Lines of this response end in bare LF. Set only by a status line that did so itself: were a bare LF a line end in
   * every body, mail could hold a terminator and forge the answers behind it.
   */
  #lfOnly = false;

  constructor(handler: ReplyHandler) {
    this.#handler = handler;
  }

  /** Nothing of another reply has come after the last whole one. */
  get isBetweenReplies(): boolean {
    return this.#state === 'status' && this.#partialBytes === 0;
  }

  /** What has come of a status line that is not whole. */
  get partialLine(): Buffer {
    return Buffer.concat(this.#partial);
  }

  /** @throws the handler's `violation` when a status line is over its bound. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      switch (this.#state) {
        case 'status':
          at = this.#readStatus(chunk, at);
          break;
        case 'text':
          at = this.#lfOnly ? this.#readLfText(chunk, at) : this.#readText(chunk, at);
          break;
        default:
          at = this.#readByte(chunk, at, this.#state);
      }
    }
  }

  #readStatus(chunk: Buffer, at: number): number {
    const lf = chunk.indexOf(LF, at);
    const end = lf === -1 ? chunk.length : lf;
    this.#partialBytes += end - at;
    if (this.#partialBytes > statusLineBytesMax) {
      throw this.#handler.violation(`a status line of more than ${statusLineBytesMax} octets`);
    }
    let line = chunk.subarray(at, end);
    if (lf === -1) {
      this.#partial.push(Buffer.from(line)); // A copy: what was pushed is the caller's again.
      return chunk.length;
    }
    if (this.#partial.length > 0) {
      line = Buffer.concat([...this.#partial, line]);
      this.#partial = [];
    }
    this.#partialBytes = 0;
    const hasCr = line.at(-1) === CR;
    if (hasCr) line = line.subarray(0, -1);
    this.#lfOnly = !hasCr;
    if (this.#handler.status(line)) this.#state = 'line-start';
    return lf + 1;
  }

  #readText(chunk: Buffer, at: number): number {
    const found = chunk.indexOf(CRLF_DOT, at);
    if (found !== -1) {
      this.#handler.data(chunk.subarray(at, found + 2));
      this.#state = 'dot';
      return found + 3;
    }
    this.#handler.data(at === 0 ? chunk : chunk.subarray(at));
    const last = chunk.at(-1);
    if (last === CR) this.#state = 'cr';
    else if (last === LF && chunk.length - at >= 2 && chunk.at(-2) === CR) this.#state = 'line-start';
    return chunk.length;
  }

  #readLfText(chunk: Buffer, at: number): number {
    const lf = chunk.indexOf(LF, at);
    const end = lf === -1 ? chunk.length : lf;
    // A CR before the LF is a line end all the same; it waits in state 'cr' until the next byte tells.
    const textEnd = chunk[end - 1] === CR && end > at ? end - 1 : end;
    if (textEnd > at) this.#handler.data(chunk.subarray(at, textEnd));
    if (lf === -1) {
      if (textEnd < end) this.#state = 'cr';
      return chunk.length;
    }
    this.#handler.data(CRLF);
    this.#state = 'line-start';
    return lf + 1;
  }

  /** The states around a line end that may be split over two reads, a byte at a time. */
  #readByte(chunk: Buffer, at: number, state: Exclude<State, 'status' | 'text'>): number {
    const byte = chunk[at];
    switch (state) {
      case 'cr':
        if (byte === LF) {
          this.#handler.data(this.#lfOnly ? CRLF : chunk.subarray(at, at + 1));
          this.#state = 'line-start';
          return at + 1;
        }
        if (this.#lfOnly) this.#handler.data(CRLF.subarray(0, 1));
        this.#state = 'text';
        return at;
      case 'line-start':
        this.#state = byte === DOT ? 'dot' : 'text';
        return byte === DOT ? at + 1 : at;
      case 'dot':
        if (byte === CR) {
          this.#state = 'dot-cr';
          return at + 1;
        }
        if (byte === LF && this.#lfOnly) return this.#finish(at + 1);
        // A second dot: the first was stuffed. Anything else: a server that does not stuff, and the dot is the mail's.
        if (byte !== DOT) this.#handler.data(STUFFED.dot);
        this.#state = 'text';
        return at;
      case 'dot-cr':
        if (byte === LF) return this.#finish(at + 1);
        this.#handler.data(this.#lfOnly ? STUFFED.dot : STUFFED.dotCr);
        this.#state = 'cr';
        return at;
    }
  }

  #finish(next: number): number {
    this.#state = 'status';
    this.#handler.end();
    return next;
  }
}
