/** The two ways in which a multi-line response is consumed: as lines, or as a stream with back-pressure. */
import { listingBytesMax, listLineBytesMax, sliceBytesMin } from './limits.ts';

/** Where the body of an answer goes. */
export interface BodySink {
  data(chunk: Buffer): void;
  end(): void;
  /** The connection failed before the end of the body. */
  fail(error: Error): void;
}

interface LineBodyOptions {
  linesMax: number;
  onLine(line: string): void;
  /** The error to throw when a bound is broken. */
  violation(what: string): Error;
}

/** Hands out the lines of CAPA, LIST or UIDL without their line ends, one character for each byte. */
export class LineBody implements BodySink {
  readonly done: Promise<void>;
  readonly #options: LineBodyOptions;
  #resolve: () => void;
  #reject: (error: Error) => void;
  #rest = '';
  #lines = 0;
  #bytes = 0;

  constructor(options: LineBodyOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => undefined); // The command itself may fail first, and then nobody waits for its body.
    this.done = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#options = options;
  }

  data(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > listingBytesMax) throw this.#options.violation(`a list of more than ${listingBytesMax} octets`);
    const text = this.#rest + chunk.toString('latin1');
    let from = 0;
    for (let lf = text.indexOf('\n'); lf !== -1; lf = text.indexOf('\n', from)) {
      this.#take(text.slice(from, lf).replace(/\r$/, ''));
      from = lf + 1;
    }
    this.#rest = text.slice(from);
    this.#refuseLong(this.#rest);
  }

  /** The terminator is a line of its own: no line is left over here. */
  end(): void {
    this.#resolve();
  }

  fail(error: Error): void {
    this.#reject(error);
  }

  #take(line: string): void {
    const { linesMax, onLine, violation } = this.#options;
    this.#lines += 1;
    if (this.#lines > linesMax) throw violation(`a list of more than ${linesMax} lines`);
    this.#refuseLong(line);
    onLine(line);
  }

  #refuseLong(line: string): void {
    if (line.length > listLineBytesMax) {
      throw this.#options.violation(`a list with a line of more than ${listLineBytesMax} octets`);
    }
  }
}

/** Back-pressure: what a body holds and gives out is told to who can stop the server. */
export interface FlowControl {
  hold(bytes: number): void;
  take(bytes: number): void;
  /** Called when the consumer leaves before the end: the rest of the body would be read for nothing. */
  abandon(): void;
}

/**
 * A message as it arrives: chunks are slices of what the socket read, valid for as long as they are kept. Only where dots
 * have cut them small (a mail may be made of nothing else) are they joined: the copy costs less than the turns it saves.
 */
export class MessageBody implements BodySink, AsyncIterable<Buffer> {
  readonly #flow: FlowControl;
  #chunks: Buffer[] = [];
  #bufferedBytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #skipping = false;

  constructor(flow: FlowControl) {
    this.#flow = flow;
  }

  data(chunk: Buffer): void {
    if (this.#skipping) return;
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    this.#flow.hold(chunk.length);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#error = error;
    this.#wake?.();
  }

  /** What has come and will come is of no interest. The session goes on behind it. */
  skip(): void {
    this.#skipping = true;
    this.#chunks = [];
    this.#flow.take(this.#bufferedBytes);
    this.#bufferedBytes = 0;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    try {
      for (;;) {
        const chunks = this.#chunks;
        const bytes = this.#bufferedBytes;
        this.#chunks = [];
        this.#bufferedBytes = 0;
        this.#flow.take(bytes);
        if (bytes < chunks.length * sliceBytesMin) yield Buffer.concat(chunks, bytes);
        else yield* chunks;
        if (this.#chunks.length > 0) continue;
        if (this.#error) throw this.#error;
        if (this.#ended) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    } finally {
      if (!this.#ended && !this.#error) this.#flow.abandon();
    }
  }
}
