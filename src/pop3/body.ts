/** How a multi-line response is consumed: as a stream of octets with back-pressure, and as the lines of a list. */
import { listingBytesMax, listLineBytesMax, sliceBytesMin } from './limits.ts';

/** Where the body of a response goes. */
export interface BodySink {
  /** Octets that are valid until the read that they came with is released, see `FlowControl`. */
  data(chunk: Buffer): void;
  end(): void;
  /** The connection failed before the end of the body. */
  fail(error: Error): void;
}

/** One read from the socket, whose memory slices of bodies lie in. */
export interface SocketRead {
  readonly chunk: Buffer;
  /** Octets of bodies in it that no consumer is done with yet. */
  heldBytes: number;
}

/** Back-pressure: what a body holds, and what its consumer is done with, is told to who can stop the server. */
export interface FlowControl {
  /** So many octets more wait for a consumer. Gives the read that they lie in. */
  hold(bytes: number): SocketRead;
  /** A consumer is done with so many octets of a read. */
  release(bytes: number, read: SocketRead): void;
  /** Called when the consumer leaves before the end: the rest of the body would be read for nothing. */
  abandon(): void;
  /** The error for a server that breaks the protocol. `what` continues "host:port sent ...". */
  violation(what: string): Error;
}

/**
 * A message as it arrives, in slices of what the socket read. A slice counts as taken when the next is asked for. Only
 * where dots have cut them small (a mail may be made of nothing else) are they joined: the copy costs less than the turns
 * it saves.
 */
export class MessageBody implements BodySink, AsyncIterableIterator<Buffer, void> {
  readonly #flow: FlowControl;
  #chunks: Buffer[] = [];
  /** Of each chunk, the read that it lies in. */
  #reads: SocketRead[] = [];
  #bufferedBytes = 0;
  /** What the consumer has now. */
  #lent: { bytes: number; read: SocketRead } | null = null;
  #isEnded = false;
  #isSkipping = false;
  #error: Error | undefined;
  #waiter: PromiseWithResolvers<IteratorResult<Buffer, void>> | null = null;
  readonly #guard: AnswerGuard | null;

  constructor(flow: FlowControl, guard: AnswerGuard | null = null) {
    this.#flow = flow;
    this.#guard = guard;
  }

  data(chunk: Buffer): void {
    this.#guard?.look(chunk);
    if (this.#isSkipping) return;
    this.#chunks.push(chunk);
    this.#reads.push(this.#flow.hold(chunk.length));
    this.#bufferedBytes += chunk.length;
    this.#wake();
  }

  /** @throws where the guard finds that this was more than one answer. */
  end(): void {
    if (this.#guard?.hasSwallowed) {
      const error = this.#flow.violation('what looks like two answers in one, while several commands were under way');
      this.fail(error);
      throw error;
    }
    this.#isEnded = true;
    this.#wake();
  }

  fail(error: Error): void {
    this.#error = error;
    this.#wake();
  }

  /** What has come and will come is of no interest. The session goes on behind it. */
  skip(): void {
    this.#isSkipping = true;
    this.#giveBack();
    for (const [index, chunk] of this.#chunks.entries()) this.#release(chunk.length, this.#reads[index]);
    this.#forget();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** One at a time, as `for await` asks. */
  next(): Promise<IteratorResult<Buffer, void>> {
    this.#giveBack();
    if (this.#error && this.#chunks.length === 0) return Promise.reject(this.#error);
    const result = this.#nextResult();
    if (result) return Promise.resolve(result);
    this.#waiter = Promise.withResolvers();
    return this.#waiter.promise;
  }

  /** The consumer leaves: before the end, that ends the session. */
  return(): Promise<IteratorResult<Buffer, void>> {
    const isEarly = !this.#isEnded && !this.#isSkipping && !this.#error;
    this.skip();
    if (isEarly) this.#flow.abandon();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Null where it has not come. */
  #nextResult(): IteratorResult<Buffer, void> | null {
    if (this.#chunks.length > 0) return { done: false, value: this.#take() };
    return this.#isEnded || this.#isSkipping ? { done: true, value: undefined } : null;
  }

  #take(): Buffer {
    if (this.#chunks.length > 1 && this.#bufferedBytes < this.#chunks.length * sliceBytesMin) {
      const joined = Buffer.concat(this.#chunks, this.#bufferedBytes);
      const sizes = this.#chunks.map(({ length }) => length);
      const reads = this.#reads;
      this.#forget();
      for (const [index, bytes] of sizes.entries()) this.#release(bytes, reads[index]);
      return joined;
    }
    const chunk = this.#chunks.shift() as Buffer;
    const read = this.#reads.shift();
    this.#bufferedBytes -= chunk.length;
    if (read) this.#lent = { bytes: chunk.length, read };
    return chunk;
  }

  #giveBack(): void {
    const lent = this.#lent;
    this.#lent = null;
    if (lent) this.#flow.release(lent.bytes, lent.read);
  }

  #release(bytes: number, read: SocketRead | undefined): void {
    if (read) this.#flow.release(bytes, read);
  }

  #forget(): void {
    this.#chunks = [];
    this.#reads = [];
    this.#bufferedBytes = 0;
  }

  #wake(): void {
    const waiter = this.#waiter;
    if (!waiter) return;
    this.#waiter = null;
    const result = this.#nextResult();
    if (result) waiter.resolve(result);
    else waiter.reject(this.#error);
  }
}

const ANSWER_STARTS = [Buffer.from('\n+OK'), Buffer.from('\n-ERR')] as const;
const ACROSS_CHUNKS = /\n(?:\+OK|-ERR)/;
const LOOK_BACK_BYTES = 4;

/**
 * For a body that others may come behind (RFC 2449 §6.6). Where a server leaves out the line end before its final dot, the
 * body goes on through the next answer, and all that follows stands under the wrong number. Such a body holds a line that
 * begins as an answer does, and has not the octets that LIST said. Mail may hold such a line, and LIST may lie: both at
 * once are rare enough to ask again, one by one.
 */
export class AnswerGuard {
  /** As LIST said; null where that is unknown. */
  readonly #expectedBytes: number | null;
  #bytes = 0;
  #hasAnswer = false;
  /** The end of the chunk before; in the beginning, that of the status line. */
  #tail = '\n';

  constructor(expectedBytes: number | null) {
    this.#expectedBytes = expectedBytes;
  }

  look(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#hasAnswer) return;
    const seam = this.#tail + chunk.toString('latin1', 0, LOOK_BACK_BYTES);
    this.#hasAnswer =
      chunk.indexOf(ANSWER_STARTS[0]) !== -1 || chunk.indexOf(ANSWER_STARTS[1]) !== -1 || ACROSS_CHUNKS.test(seam);
    this.#tail =
      chunk.length < LOOK_BACK_BYTES
        ? seam.slice(-LOOK_BACK_BYTES)
        : chunk.toString('latin1', chunk.length - LOOK_BACK_BYTES);
  }

  get hasSwallowed(): boolean {
    return this.#hasAnswer && this.#bytes !== this.#expectedBytes;
  }
}

export interface LineBounds {
  linesMax: number;
  /** The error to throw when a bound is broken. */
  violation(what: string): Error;
}

/** Cuts the octets of CAPA, LIST or UIDL into lines without their ends, one character for each octet. Holds one line at most. */
export class LineSplitter {
  readonly #bounds: LineBounds;
  #rest = '';
  #lines = 0;
  #bytes = 0;

  constructor(bounds: LineBounds) {
    this.#bounds = bounds;
  }

  /** The lines whose end is in this chunk. The terminator of a body is a line of its own: none is left over behind the last. */
  push(chunk: Buffer): string[] {
    const { linesMax, violation } = this.#bounds;
    this.#bytes += chunk.length;
    if (this.#bytes > listingBytesMax) throw violation(`a list of more than ${listingBytesMax} octets`);
    const lines = (this.#rest + chunk.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    this.#lines += lines.length;
    if (this.#lines > linesMax) throw violation(`a list of more than ${linesMax} lines`);
    this.#bounded(this.#rest);
    return lines.map((line) => this.#bounded(line));
  }

  #bounded(line: string): string {
    const bare = line.endsWith('\r') ? line.slice(0, -1) : line;
    if (bare.length <= listLineBytesMax) return bare;
    throw this.#bounds.violation(`a list with a line of more than ${listLineBytesMax} octets`);
  }
}
