/**
 * One request and the beginning of its answer, all of it within one time limit. It is undici's dispatch, a layer below its streams: an
 * answer of a webhook is mostly empty, and a stream for each costs more than the answer.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

export interface Exchanged {
  /** Null where no answer came. */
  status: number | null;
  headers: IncomingHttpHeaders;
  /** The beginning of the answer, as it came. */
  start: Buffer;
  /** By `performance.now()`; null where no answer came. */
  firstByteAtMs: number | null;
  /** Why no answer came, or why it broke off. */
  error: Error | null;
}

/** Always settles within the time limit. @param bytesMax of the answer; the rest is neither read nor waited for. */
export function exchange(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  bytesMax: number,
  timeoutMs: number,
): Promise<Exchanged> {
  return new Promise((resolve) => {
    dispatcher.dispatch(request, new Exchange(bytesMax, timeoutMs, resolve));
  });
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #bytesMax: number;
  readonly #settle: (exchanged: Exchanged) => void;
  readonly #timer: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | null = null;
  #status: number | null = null;
  #headers: IncomingHttpHeaders = {};
  #firstByteAtMs: number | null = null;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #ended: Error | 'whole' | null = null;

  constructor(bytesMax: number, timeoutMs: number, settle: (exchanged: Exchanged) => void) {
    this.#bytesMax = bytesMax;
    this.#settle = settle;
    this.#timer = setTimeout(() => this.#breakOff(new DOMException('No answer in time.', 'TimeoutError')), timeoutMs);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // It has waited for its connection for too long.
    if (this.#ended instanceof Error) controller.abort(this.#ended);
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    this.#firstByteAtMs = performance.now();
    this.#status = status;
    this.#headers = headers;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= this.#bytesMax) this.#breakOff(new Error('The answer is longer than is read.'));
  }

  onResponseEnd(): void {
    this.#end('whole');
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    this.#end(error);
  }

  #breakOff(reason: Error): void {
    this.#end(reason);
    this.#controller?.abort(reason);
  }

  #end(how: Error | 'whole'): void {
    if (this.#ended !== null) return;
    this.#ended = how;
    clearTimeout(this.#timer);
    this.#settle({
      status: this.#status,
      headers: this.#headers,
      start: Buffer.concat(this.#chunks).subarray(0, this.#bytesMax),
      firstByteAtMs: this.#firstByteAtMs,
      error: how === 'whole' ? null : how,
    });
  }
}
