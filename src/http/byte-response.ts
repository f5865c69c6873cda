/**
 * Bytes of known size and digest as a response: whole, one range of them, or only the word that the caller has them already
 * (RFC 9110 §13, §14). Several ranges in one request are answered with the whole, as §14.2 allows.
 */
import { parse } from 'range-parser';
import { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import type { ByteRange } from '../message/blobs/blob-store.ts';

export interface StoredBytes {
  /** In bytes. */
  size: number;
  /** In quotes; strong: the same tag is the same bytes. */
  etag: string;
  /** Null where they are gone. */
  open(range?: ByteRange): Promise<Readable | null>;
}

export interface ByteRequest {
  method: string;
  /** Lower-case names. */
  header: Readonly<Record<string, string>>;
}

/** @returns null where the bytes are gone. @throws AppError `range_not_satisfiable`. */
export async function respondWithBytes(
  { method, header }: ByteRequest,
  { size, etag, open }: StoredBytes,
  headers: Readonly<Record<string, string>>,
): Promise<Response | null> {
  const described = { ...headers, etag, 'accept-ranges': 'bytes' };
  if (matchesAny(header['if-none-match'], etag)) return new Response(null, { status: 304, headers: described });
  // §14.2: for HEAD there is no range.
  const range = method === 'GET' ? readRange(header, size, etag) : null;
  const length = range ? range.end - range.start + 1 : size;
  const answer = {
    status: range ? 206 : 200,
    headers: {
      ...described,
      'content-length': String(length),
      ...(range && { 'content-range': `bytes ${range.start}-${range.end}/${size}` }),
    },
  };
  const bytes = await open(range ?? undefined);
  return bytes && respondWithStream(bytes, answer);
}

/** Bytes as they come; their size need not be known. */
export function respondWithStream(bytes: Readable, answer: ResponseInit): Response {
  return new Response(Readable.toWeb(bytes) as ReadableStream<Uint8Array>, answer);
}

/** §13.1.2: compared weakly, so that `W/` in front makes no difference. */
function matchesAny(tags: string | undefined, etag: string): boolean {
  return tags !== undefined && tags.split(',').some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, '')));
}

function readRange(header: ByteRequest['header'], size: number, etag: string): ByteRange | null {
  const { range: written, 'if-range': condition } = header;
  // §13.1.5: of other bytes than these, a range would be a piece that fits nothing.
  if (written === undefined || (condition !== undefined && condition !== etag)) return null;
  const { type, code, ranges } = parse(size, written);
  // §14.2: what is malformed is as if it were not there.
  if (type !== 'bytes' || (code & MALFORMED) !== 0) return null;
  const [range, another] = ranges;
  if (!range && size > 0) {
    throw new AppError('range_not_satisfiable', `No byte of that range is there: there are ${size}.`, {
      fields: { contentRange: `bytes */${size}` },
    });
  }
  return another ? null : (range ?? null);
}
/** A bit of range-parser's code. */
const MALFORMED = 1;
