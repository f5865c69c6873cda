/**
 * Raw bytes of one message to a JSON-safe ParsedMessage.
 *
 * A message that cannot be parsed is still a message: nothing in it makes this throw, and what could not be read is in its
 * warnings. It does not bound its own time or heap, which only the thread around it can (pool.ts), and keeps no attachment
 * (attachment.ts streams one out of the raw message).
 */
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { toError } from '../errors.ts';
import { describeAttachment } from './attachment.ts';
import { readBody } from './body.ts';
import { readEnvelope } from './envelope.ts';
import { readHead } from './head.ts';
import type { RawField } from './head.ts';
import { attachmentsMax, chunkBytes, headBytesMax, partDepthMax, partsMax } from './limits.ts';
import type { AttachmentInfo, ParsedMessage, ParseWarning, Warn, WarningCode } from './message.ts';
import { PartParser, runParser } from './part-parser.ts';

export async function parseMessage(bytes: Uint8Array): Promise<ParsedMessage> {
  const { warnings, warn } = collectWarnings();
  const fields = readHead(bytes, warn);
  const envelope = readEnvelope(fields, warn);
  if (fields.length === 0) warn('headers_missing', 'The message has no header section.');

  const parser = new PartParser();
  const attachments: AttachmentInfo[] = [];
  const source = Readable.from(chunksOf(bytes, lacksHead(bytes, fields) ? [Buffer.from('\r\n')] : []));
  const isWhole = await runParser(parser, source, async (attachment, ordinal) => {
    attachment.content.resume();
    await finished(attachment.content);
    if (ordinal <= attachmentsMax) attachments.push(describeAttachment(attachment, ordinal));
    else warn('attachments_truncated', `Attachments beyond the first ${attachmentsMax} are not listed.`);
  }).then(
    () => true,
    (thrown: unknown) => {
      warnOfFailure(toError(thrown), warn);
      return false;
    },
  );
  const body = readBody(parser, warn);
  const isEmpty = body.text === null && body.html === null && attachments.length === 0;
  const status = !isWhole && isEmpty ? 'failed' : warnings.size === 0 ? 'ok' : 'partial';
  return { ...envelope, ...body, attachments, parse: { status, warnings: listWarnings(warnings) } };
}

/** What is left of a message whose parsing came to grief: its header section, read with bounded effort, and why. */
export function parseHeaders(head: Uint8Array, reason: ParseWarning): ParsedMessage {
  const { warnings, warn } = collectWarnings();
  warn(reason.code, reason.detail);
  const envelope = readEnvelope(readHead(head, warn), warn);
  return {
    ...envelope,
    text: null,
    html: null,
    textTruncated: false,
    htmlTruncated: false,
    attachments: [],
    snippet: '',
    parse: { status: 'failed', warnings: listWarnings(warnings) },
  };
}

/** Whether text stands where the header section should: the parser would drop it, up to an empty line, as malformed fields. */
function lacksHead(bytes: Uint8Array, fields: readonly RawField[]): boolean {
  return fields.length === 0 && bytes.byteLength > 0 && bytes[0] !== 0x0d && bytes[0] !== 0x0a;
}

function* chunksOf(bytes: Uint8Array, prefix: readonly Buffer[]): Generator<Buffer> {
  yield* prefix;
  for (let start = 0; start < bytes.byteLength; start += chunkBytes) {
    const length = Math.min(chunkBytes, bytes.byteLength - start);
    yield Buffer.from(bytes.buffer, bytes.byteOffset + start, length);
  }
}

function warnOfFailure(error: Error, warn: Warn): void {
  if ('code' in error && error.code === 'EMAXLEN') {
    const bounds = `${partsMax} parts, ${partDepthMax} levels of parts or ${headBytesMax} bytes of header section`;
    warn('parts_truncated', `The message has more than ${bounds}: what follows is left out.`);
  } else {
    warn('parser_failed', 'The message could not be parsed to its end: what follows is left out.');
  }
}

function collectWarnings(): { warnings: Map<WarningCode, string>; warn: Warn } {
  const warnings = new Map<WarningCode, string>();
  return { warnings, warn: (code, detail) => void (warnings.has(code) || warnings.set(code, detail)) };
}

function listWarnings(warnings: ReadonlyMap<WarningCode, string>): ParseWarning[] {
  return Array.from(warnings, ([code, detail]) => ({ code, detail }));
}
