/**
 * Raw bytes on their way into a parser thread, a chunk at a time: each is sent when the thread asks for it, so that neither side
 * holds more of a message than that, however large it is.
 */
import { once } from 'node:events';
import type { MessagePort } from 'node:worker_threads';
import { toError } from '../errors.ts';
import { chunkBytes, headerBytesMax } from './limits.ts';

type Chunk = { readonly bytes: Uint8Array } | 'end' | 'failed';

/** What the sender knows when the thread is done with it, one way or the other. */
export interface MessageFeed {
  /** The beginning of what was sent: header fields to be read by another thread. */
  head(): Uint8Array;
  /** What the source failed with; null where it did not. */
  error(): Error | null;
  stop(): void;
}

/** @param watch is told when the thread waits for the source, and when it has something to do. */
export function feedMessage(
  source: AsyncIterable<Uint8Array>,
  port: MessagePort,
  watch: { onWait(): void; onWork(): void },
): MessageFeed {
  const pieces = split(source)[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let headBytes = 0;
  let failure: Error | null = null;

  async function next(): Promise<Chunk> {
    try {
      const { done, value } = await pieces.next();
      if (done === true) return 'end';
      // A copy that owns its memory: it is given away.
      const bytes = new Uint8Array(value);
      if (headBytes < headerBytesMax) head.push(bytes.slice(0, headerBytesMax - headBytes));
      headBytes += bytes.length;
      return { bytes };
    } catch (thrown) {
      failure = toError(thrown);
      return 'failed';
    }
  }

  port.on('message', () => {
    watch.onWait();
    void next().then((chunk) => {
      watch.onWork();
      port.postMessage(chunk, typeof chunk === 'object' ? [chunk.bytes.buffer as ArrayBuffer] : []);
    });
  });
  return {
    head: () => new Uint8Array(Buffer.concat(head)),
    error: () => failure,
    stop() {
      port.close();
      void pieces.return?.().catch(() => undefined);
    },
  };
}

/** The other end, in the thread. @throws Error where the source failed. */
export async function* readFeed(port: MessagePort): AsyncGenerator<Buffer, void> {
  try {
    for (;;) {
      port.postMessage('next');
      const [chunk] = (await once(port, 'message')) as [Chunk];
      if (chunk === 'end') return;
      if (chunk === 'failed') throw new Error('The source of the message failed');
      yield Buffer.from(chunk.bytes.buffer, chunk.bytes.byteOffset, chunk.bytes.byteLength);
    }
  } finally {
    port.close();
  }
}

/** In pieces small enough to be split and decoded in one go. */
async function* split(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of source) {
    for (let start = 0; start < chunk.length; start += chunkBytes) yield chunk.subarray(start, start + chunkBytes);
  }
}
