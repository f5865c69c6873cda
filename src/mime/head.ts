/** The header section of a message, read on its own so that it is there whatever becomes of the rest. */
import { headerBytesMax, parseLimits, type ParseLimits } from './limits.ts';
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
      // Mailboxes in mbox format leave their separator in front of the first field.
      if (fields.length > 0 || !line.toString('latin1', 0, 5).startsWith('From ')) {
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

/** What the message declares for its body: a sender that writes its header fields in raw bytes writes them in the same. */
function findCharset(head: Buffer): string | null {
  const written = head.toString('latin1', 0, endOfHead(head));
  return /^content-type:[^:]{0,500}?charset\s{0,9}=\s{0,9}["']?([\w.:+-]{1,40})/im.exec(written)?.[1] ?? null;
}

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
