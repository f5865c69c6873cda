/** The header section of a message, read on its own so that it is there whatever becomes of the rest. */
import { isAscii } from 'node:buffer';
import { firstPartBytesMax, headerBytesMax, parseLimits, type ParseLimits } from './limits.ts';
import type { Warn } from './message.ts';
import { clean, decodeBytes } from './text.ts';

export interface RawField {
  readonly name: string;
  /** Unfolded, encoded words still encoded: addresses must be taken apart before their names are decoded. */
  readonly value: string;
}

const LF = 0x0a;

export function readHead(bytes: Uint8Array, warn: Warn, limits: ParseLimits = parseLimits): readonly RawField[] {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, limits.headerBytes));
  const fields: RawField[] = [];
  const charset = findCharset(head);
  for (const line of unfoldedLines(head)) {
    const field = parseField(line, charset);
    if (field === null) {
      if (fields.length > 0 || !isSeparator(line, 0)) {
        warn('headers_malformed', 'A line of the header section is not a field.');
      }
      continue;
    }
    if (fields.length === limits.headerFields) {
      warn('headers_truncated', `Header fields beyond the first ${limits.headerFields} are not listed.`);
      return fields;
    }
    fields.push(field);
  }
  if (bytes.byteLength > limits.headerBytes && endOfHead(head) === head.length) {
    warn('headers_truncated', `Header fields beyond the first ${limits.headerBytes} bytes are not listed.`);
  }
  return fields;
}

/**
 * Where text begins without the empty line that should stand before it; -1 where none does. Lines that are no fields are
 * garbage where a field of mail's own follows them, and text where none does.
 *
 * @param isWhole whether the bytes are all that there are, and not cut somewhere.
 */
export function findTextStart(head: Buffer, isWhole: boolean): number {
  const end = endOfHead(head);
  let at = 0;
  let textStart = -1;
  for (const line of unfoldedLines(head)) {
    // What separates the parts of a multipart is no garbage, whatever follows it.
    if (line.toString('latin1', 0, 2) === '--') return at;
    const isCut = !isWhole && at + line.length === head.length && end === head.length;
    if (textStart !== -1 && MAIL_FIELD.test(line.toString('latin1', 0, FIELD_NAME_BYTES))) textStart = -1;
    else if (textStart === -1 && !isCut && !isSeparator(line, at) && parseField(line, null) === null) textStart = at;
    at += line.length;
  }
  return textStart;
}

const FIELD_NAME_BYTES = 64;
const MAIL_FIELD =
  /^(?:(?:resent-)?(?:from|sender|to|cc|bcc|date|message-id|reply-to)|subject|in-reply-to|references|received|return-path|delivered-to|mime-version|user-agent|authentication-results|(?:content|x|list|dkim|arc)-[\w-]+)[ \t]*:/i;

/** Mailboxes in mbox format leave theirs in front of the first field. */
function isSeparator(line: Buffer, at: number): boolean {
  return at === 0 && line.toString('latin1', 0, 5) === 'From ';
}

/** Each field with its folded lines (RFC 5322 §2.2.3), which are one run of bytes. */
function* unfoldedLines(head: Buffer): Generator<Buffer> {
  const end = endOfHead(head);
  let start = 0;
  let searchFrom = 0;
  while (start < end) {
    const lineEnd = head.indexOf(LF, searchFrom);
    const next = lineEnd === -1 || lineEnd >= end ? end : lineEnd + 1;
    const isFolded = next < end && (head[next] === 0x20 || head[next] === 0x09);
    if (!isFolded) {
      yield head.subarray(start, next);
      start = next;
    }
    searchFrom = next;
  }
}

/** Where the empty line is, or the end. */
function endOfHead(head: Buffer): number {
  if (head[0] === LF || (head[0] === 0x0d && head[1] === LF)) return 0;
  const ends = [head.indexOf('\n\n'), head.indexOf('\n\r\n')].filter((at) => at !== -1);
  return ends.length === 0 ? head.length : Math.min(...ends) + 1;
}

/**
 * What the message declares for its body: a sender that writes its header fields in raw bytes writes them in the same. A multipart
 * declares it for its first part.
 */
function findCharset(head: Buffer): string | null {
  const end = endOfHead(head);
  const own = DECLARED_CHARSET.exec(head.toString('latin1', 0, end))?.[1];
  if (own !== undefined || isAscii(head.subarray(0, end))) return own ?? null;
  return DECLARED_CHARSET.exec(head.toString('latin1', end, end + firstPartBytesMax))?.[1] ?? null;
}

const DECLARED_CHARSET = /^content-type:[^:]{0,500}?charset\s{0,9}=\s{0,9}["']?([\w.:+-]{1,40})/im;

function parseField(line: Buffer, charset: string | null): RawField | null {
  const colon = line.indexOf(':');
  // Printable ASCII but the colon (RFC 5322 §2.2), white space in front of it forgiven (§4.5).
  const name = /^[!-9;-~]+(?=[ \t]*$)/.exec(line.toString('latin1', 0, Math.max(colon, 0)))?.[0];
  if (name === undefined) return null;
  const value = decodeBytes(line.subarray(colon + 1), charset)
    .replaceAll(/\r?\n/g, '')
    .trim();
  return { name, value: clean(value, headerBytesMax).text };
}
