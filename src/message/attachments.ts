/** Attachments of a stored message, read out of its raw bytes: nothing of them is kept beside these. */
import { Readable } from 'node:stream';
import { decodeAttachment, openAttachment as findInRaw, type OpenAttachment } from '../mime/attachment.ts';
import type { ParsedMessage, StoredAttachment } from '../mime/message.ts';
import type { ByteRange } from './blobs/blob-store.ts';

/** What reads the raw bytes, or a range of them. */
export type OpenRaw = (range?: ByteRange) => Promise<Readable | null>;

export function findAttachment(parsed: ParsedMessage, attachmentId: string): StoredAttachment | null {
  return parsed.attachments.find(({ id }) => id === attachmentId) ?? null;
}

/** Null where the raw bytes are gone. */
export async function openAttachment(
  openRaw: OpenRaw,
  attachment: StoredAttachment,
  range?: ByteRange,
): Promise<OpenAttachment | null> {
  const opened = await (attachment.source === null ? searchRaw(openRaw, attachment) : readSource(openRaw, attachment));
  return opened && { ...opened, stream: range ? takeRange(opened.stream, range) : opened.stream };
}

async function readSource(
  openRaw: OpenRaw,
  { source, filename, contentType }: StoredAttachment,
): Promise<OpenAttachment | null> {
  const { offset, length, encoding } = source ?? { offset: 0, length: 0, encoding: 'identity' };
  const encoded = length === 0 ? Readable.from([]) : await openRaw({ start: offset, end: offset + length - 1 });
  return encoded && { filename, contentType, stream: decodeAttachment(encoded, encoding) };
}

async function searchRaw(
  openRaw: OpenRaw,
  { id, filename, contentType }: StoredAttachment,
): Promise<OpenAttachment | null> {
  const raw = await openRaw();
  const found = raw && (await findInRaw(raw, id));
  return found && { ...found, filename, contentType };
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
