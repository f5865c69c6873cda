/** What comes back from a webhook: its status, a bounded beginning of what it says, and how long each phase took. */
import type { Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { answerBytesMax, detailCharsMax } from './limits.ts';

/** Milliseconds; null where a phase was not there: a connection that was kept alive has none of the first three. */
export interface Phases {
  dnsMs: number | null;
  connectMs: number | null;
  tlsMs: number | null;
  firstByteMs: number | null;
  totalMs: number;
}

export interface Answer {
  /** Null where no answer came. */
  status: number | null;
  /** What the endpoint said, or why there is no answer; bounded. */
  detail: string;
  /** The header as it came; null where it is not there. */
  retryAfter: string | null;
  phases: Phases;
  /** Null where nothing was connected to. */
  remoteAddress: string | null;
}

/** The beginning of an answer, decompressed; the rest is neither read nor waited for. */
export async function readStart(body: Readable, encoding: string | null): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const plain = decompress(body, encoding);
  try {
    for await (const chunk of plain as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= answerBytesMax) break;
    }
  } catch {
    // Cut off, too slow or no such compression: the status has been said, and what came is enough to quote.
  } finally {
    // Of an answer that is at its end the connection is kept.
    if (!body.readableEnded) body.destroy();
  }
  return quote(Buffer.concat(chunks).subarray(0, answerBytesMax).toString());
}

/** What a decompressor makes of one chunk at a time is bounded as well: a bomb gives no more than it is asked for. */
function decompress(body: Readable, encoding: string | null): Readable {
  const options = { chunkSize: answerBytesMax };
  const decoder = createDecoder(encoding, options);
  if (decoder === null) return body;
  body.on('error', (error) => decoder.destroy(error));
  return body.pipe(decoder);
}

function createDecoder(encoding: string | null, options: { chunkSize: number }): Transform | null {
  switch (encoding?.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip(options);
    case 'deflate':
      return createInflate(options);
    case 'br':
      return createBrotliDecompress(options);
    default:
      return null;
  }
}

function quote(text: string): string {
  const cut = text.length > detailCharsMax ? `${text.slice(0, detailCharsMax)}...` : text;
  return cut.replace(/[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff]/g, ' ').trim();
}
