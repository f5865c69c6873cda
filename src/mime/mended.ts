/**
 * A raw message on its way to the parser, with what would make the parser lose text mended: line ends, and a missing empty line
 * between the header section and the text. A message that needs none of it passes by as it is.
 */
import { Readable } from 'node:stream';
import { toError } from '../errors.ts';
import { findTextStart, readHead, type RawField } from './head.ts';
import { chunkBytes, type ParseLimits } from './limits.ts';
import { createLineEndMender, findLineEnds } from './line-ends.ts';
import type { Warn } from './message.ts';

export interface MendedMessage {
  /** The header section and, up to the limit on its bytes, what follows. */
  readonly head: Buffer;
  readonly fields: readonly RawField[];
  /** All of it. Fails with what `raw` fails with. */
  readonly stream: Readable;
  /** What `raw` has failed with: that is nothing of the message's. */
  failure(): Error | null;
  /** How many raw bytes the stream has given so far; null where it gives others, whose positions are of no use. */
  bytesGiven(): number | null;
}

/** @throws what `raw` fails with. */
export async function mendMessage(
  raw: Uint8Array | AsyncIterable<Uint8Array>,
  warn: Warn,
  limits: ParseLimits,
): Promise<MendedMessage> {
  const { head, rest } = await takeHead(raw, limits.headerBytes);
  const ends = findLineEnds(head);
  const mender = ends === 'usual' ? null : createLineEndMender(ends);
  const lines = mender === null ? head : Buffer.concat([mender.push(head), ...(rest === null ? [mender.end()] : [])]);
  const { fields, textStart } = readFields(lines, rest === null, warn, limits);
  const parts = textStart === -1 ? [lines] : [lines.subarray(0, textStart), EMPTY_LINE, lines.subarray(textStart)];
  let bytes = 0;
  let failure: Error | null = null;
  const pieces = join(parts, rest && watch(rest, (thrown) => (failure = thrown)), mender, (given) => (bytes += given));
  return {
    head: lines,
    fields,
    // One piece at a time, or sixteen would wait.
    stream: Readable.from(pieces, { highWaterMark: 1 }),
    failure: () => failure,
    bytesGiven: () => (parts.length === 1 && mender === null ? bytes : null),
  };
}

const EMPTY_LINE = Buffer.from('\r\n');

function readFields(
  head: Buffer,
  isWhole: boolean,
  warn: Warn,
  limits: ParseLimits,
): { fields: readonly RawField[]; textStart: number } {
  let isMalformed = false;
  const fields = readHead(
    head,
    (code, detail) => {
      isMalformed ||= code === 'headers_malformed';
      warn(code, detail);
    },
    limits,
  );
  const textStart = isMalformed ? findTextStart(head, isWhole) : -1;
  return textStart === -1
    ? { fields, textStart }
    : { fields: readHead(head.subarray(0, textStart), warn, limits), textStart };
}

/** What the header section is read from, and what comes behind it. */
async function takeHead(
  raw: Uint8Array | AsyncIterable<Uint8Array>,
  headerBytesMax: number,
): Promise<{ head: Buffer; rest: AsyncIterator<Uint8Array> | null }> {
  if (raw instanceof Uint8Array) return { head: asBuffer(raw), rest: null };
  const rest = raw[Symbol.asyncIterator]();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  while (bytes <= headerBytesMax) {
    const { done, value } = await rest.next();
    if (done === true) return { head: Buffer.concat(chunks), rest: null };
    chunks.push(value);
    bytes += value.length;
  }
  return { head: Buffer.concat(chunks), rest };
}

async function* join(
  parts: readonly Buffer[],
  rest: AsyncIterable<Uint8Array> | null,
  mender: ReturnType<typeof createLineEndMender> | null,
  count: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  for (const part of parts) {
    for (let start = 0; start < part.length; start += chunkBytes) {
      const chunk = part.subarray(start, start + chunkBytes);
      count(chunk.length);
      yield chunk;
    }
  }
  for await (const chunk of rest ?? []) {
    count(chunk.length);
    yield mender === null ? asBuffer(chunk) : mender.push(chunk);
  }
  if (rest !== null && mender !== null) yield mender.end();
}

async function* watch(rest: AsyncIterator<Uint8Array>, onFailure: (error: Error) => void): AsyncGenerator<Uint8Array> {
  try {
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } catch (thrown) {
    onFailure(toError(thrown));
    throw thrown;
  } finally {
    await rest.return?.();
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
