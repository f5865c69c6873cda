/**
 * Puts mail together as bytes: header fields, encodings, multiparts (RFC 5322, 2045, 2047, 2231).
 *
 * A string here is a byte string: one character per byte, latin1. Text beyond ASCII goes in through one of the encoders.
 * It builds what `mails.ts` needs and is no general mail composer: names and boundaries are trusted.
 */

export type Fields = Readonly<Record<string, string>>;

export interface Envelope {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly subject: string;
  /** ISO 8601, in UTC. */
  readonly sentAt: string;
  /** Further fields, after the usual ones. */
  readonly fields?: Fields;
}

/** A whole mail around an entity, see `entity` and `multipart`. */
export function mail(envelope: Envelope, content: string): string {
  const { id, from, to, subject, sentAt, fields } = envelope;
  const header = {
    From: from,
    To: to,
    Subject: subject,
    Date: toMailDate(sentAt),
    'Message-ID': `<${id}@example.com>`,
  };
  return headerLines({ ...header, ...fields, 'MIME-Version': '1.0' }) + content;
}

/** A MIME entity: its fields, a blank line, its body. */
export function entity(fields: Fields, body: string): string {
  return `${headerLines(fields)}\r\n${body}`;
}

/** `type` is what follows `multipart/`, with parameters if any. */
export function multipart(type: string, boundary: string, parts: readonly string[]): string {
  const body = [...parts.map((part) => `--${boundary}\r\n${part}\r\n`), `--${boundary}--\r\n`].join('');
  return entity({ 'Content-Type': `multipart/${type};\r\n boundary="${boundary}"` }, body);
}

/** Lines of text with CRLF after each one. */
export function lines(...texts: readonly string[]): string {
  return texts.map((text) => `${text}\r\n`).join('');
}

/** RFC 2045 section 6.7. */
export function quotedPrintable(text: string): string {
  return text.split('\r\n').map(quoteLine).join('\r\n');
}

function quoteLine(line: string): string {
  let quoted = '';
  let column = 0;
  for (const byte of Buffer.from(line)) {
    const literal = byte >= 0x20 && byte <= 0x7e && byte !== 0x3d;
    const token = literal ? String.fromCharCode(byte) : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    // 76 at most with the soft break, and room for the space below.
    if (column + token.length > 73) {
      quoted += '=\r\n';
      column = 0;
    }
    quoted += token;
    column += token.length;
  }
  return quoted.replace(/ $/, '=20');
}

/** Base64 in lines of 76, RFC 2045 section 6.8. */
export function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/.{1,76}/g, '$&\r\n');
}

/** RFC 2047: UTF-8 encoded-words in lines of at most 76, the first after `Subject: `; no character split between two. */
export function encodedWords(text: string): string {
  const chunks = [''];
  for (const character of text) {
    const longer = `${chunks.at(-1) ?? ''}${character}`;
    if (Buffer.byteLength(longer) > 39) chunks.push(character);
    else chunks[chunks.length - 1] = longer;
  }
  return chunks.map((chunk) => `=?utf-8?B?${Buffer.from(chunk).toString('base64')}?=`).join('\r\n ');
}

/** RFC 2231 section 4, for instance `filename*=UTF-8''%C3%9C.csv`. */
export function extendedParameter(name: string, value: string): string {
  const escaped = encodeURIComponent(value).replace(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  return `${name}*=UTF-8''${escaped}`;
}

/** Russian text as windows-1251 bytes; node decodes that charset but does not encode it. */
export function windows1251(text: string): string {
  return text.replace(/[\u0410-\u044f]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) - 0x0410 + 0xc0));
}

function headerLines(fields: Fields): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
}

/** RFC 5322 section 3.3. */
function toMailDate(iso: string): string {
  return new Date(iso).toUTCString().replace('GMT', '+0000');
}
