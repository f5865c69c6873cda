/** Takes an attachment's content to its end, once, for all that want to know something of it. None of it is kept. */
import type { AttachmentStream } from 'mailparser';
import { REPORT_TYPES } from './classification.ts';
import { detectContentType } from './detection.ts';
import { detectionBytesMax, reportBytesMax } from './limits.ts';
import { mayBeTnef, unpackTnef, type Unpacked } from './tnef-files.ts';
import { decodeBytes } from './text.ts';

export interface ContentFacts {
  readonly detectedContentType: string | null;
  /** Decoded, of a report of bounded size. */
  readonly report: string | null;
  /** Null where it does not claim to be a winmail.dat. */
  readonly unpacked: Unpacked | null;
}

export async function readContent({ content, contentType, filename }: AttachmentStream): Promise<ContentFacts> {
  const isReport = REPORT_TYPES.has(contentType.toLowerCase());
  const bytesWanted = isReport ? reportBytesMax : detectionBytesMax;
  const kept: Buffer[] = [];
  let bytes = 0;
  async function* watch(): AsyncGenerator<Buffer, void> {
    for await (const chunk of content as AsyncIterable<Buffer>) {
      // A copy: a view would keep the whole chunk.
      if (bytes < bytesWanted) kept.push(Buffer.from(chunk.subarray(0, bytesWanted - bytes)));
      bytes += chunk.length;
      yield chunk;
    }
  }
  const watched = watch();
  const unpacked = mayBeTnef(contentType, filename) ? await unpackTnef(watched) : null;
  for await (const chunk of watched) void chunk;
  const first = Buffer.concat(kept);
  return {
    detectedContentType: await detectContentType(first.subarray(0, detectionBytesMax)),
    report: isReport && bytes <= reportBytesMax ? decodeBytes(first) : null,
    unpacked,
  };
}
