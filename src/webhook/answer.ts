/** What comes back from a webhook: its status, a bounded beginning of what it says, and how long each phase took. */
import type { Transform } from 'node:stream';
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

/** The beginning of an answer, decompressed, to be quoted. @param start bytes of it, as many as are read. */
export async function quoteStart(start: Buffer, encoding: string | null): Promise<string> {
  const decoder = createDecoder(encoding, { chunkSize: answerBytesMax });
  return quote((decoder === null ? start : await readThrough(decoder, start)).toString());
}

/** What a decompressor makes of one chunk at a time is bounded as well: a bomb gives no more than it is asked for. */
async function readThrough(decoder: Transform, start: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  decoder.end(start);
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= answerBytesMax) break;
    }
  } catch {
    // Cut off, or no such compression: the status has been said, and what came is enough to quote.
  }
  return Buffer.concat(chunks).subarray(0, answerBytesMax);
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
