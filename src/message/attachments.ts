/** Attachments of a stored message, read out of its raw bytes: nothing of them is kept beside these. */
import { Readable } from 'node:stream';
import { decodeAttachment, openAttachment } from '../mime/attachment.ts';
import type { AttachmentInfo, AttachmentSource, ParsedMessage } from '../mime/message.ts';
import type { ByteRange } from './blobs/blob-store.ts';

/** What reads the raw bytes, or a range of them. */
export type OpenRaw = (range?: ByteRange) => Promise<Readable | null>;

export interface FoundAttachment extends AttachmentInfo {
  /** The decoded bytes, or those of a range; null where the raw bytes are gone. */
  open(range?: ByteRange): Promise<Readable | null>;
}

export function findAttachment(parsed: ParsedMessage, attachmentId: string, openRaw: OpenRaw): FoundAttachment | null {
  const attachment = parsed.attachments.find(({ id }) => id === attachmentId);
  if (!attachment) return null;
  const { source, ...info } = attachment;
  return {
    ...info,
    async open(range) {
      const stream = await (source === null ? searchRaw(openRaw, info.id) : readSource(openRaw, source));
      return stream && range ? takeRange(stream, range) : stream;
    },
  };
}

async function readSource(openRaw: OpenRaw, { offset, length, encoding }: AttachmentSource): Promise<Readable | null> {
  const encoded = length === 0 ? Readable.from([]) : await openRaw({ start: offset, end: offset + length - 1 });
  return encoded && decodeAttachment(encoded, encoding);
}

async function searchRaw(openRaw: OpenRaw, id: string): Promise<Readable | null> {
  const raw = await openRaw();
  const found = raw && (await openAttachment(raw, id));
  return found && found.stream;
}

/** What is decoded has no place that could be sought: what comes before the range is read, and dropped. */
function takeRange(stream: Readable, { start, end }: ByteRange): Readable {
  stream.on('error', () => undefined); // Found out by who reads what is taken.
  const taken = Readable.from(readRange(stream, start, end), { objectMode: false });
  return taken.once('close', () => stream.destroy());
}

async function* readRange(stream: Readable, start: number, end: number): AsyncGenerator<Buffer, void> {
  let at = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const wanted = chunk.subarray(Math.max(0, start - at), Math.max(0, end + 1 - at));
    if (wanted.length > 0) yield wanted;
    at += chunk.length;
    if (at > end) return;
  }
}
