/** What the lines of a response mean (RFC 1939, 2449, 3206). Reading only: no state, no I/O. */
import { serverTextCharsMax } from './limits.ts';

export interface StatusLine {
  ok: boolean;
  /** The whole line as the server sent it: unescaped. */
  line: string;
  /** RFC 2449 §8 response code in upper case without its brackets, as `IN-USE` or `SYS/TEMP`; null where there is none. */
  responseCode: string | null;
  /** What stands behind the status and the response code. */
  text: string;
  /** The same with one character for each octet, as unique-ids have it. */
  octets: string;
}

/**
 * Null where the line is neither `+OK` nor `-ERR`, in any case. A few stray octets before it (NUL, blanks, a byte order mark)
 * are passed over. A bare `+` (SASL) is not read here.
 */
export function parseStatusLine(line: Buffer): StatusLine | null {
  const bytes = line.toString('latin1');
  const match = STATUS_LINE.exec(bytes);
  if (!match) return null;
  const [, status = '', responseCode, text = ''] = match;
  return {
    ok: status === '+OK' || status.toUpperCase() === '+OK',
    line: decode(bytes),
    responseCode: responseCode?.toUpperCase() ?? null,
    text: decode(text),
    octets: text,
  };
}

const STATUS_LINE = /^[^\w+*-]{0,16}(\+OK|-ERR)(?![A-Za-z0-9])[ \t]*(?:\[([A-Za-z0-9/_-]{1,64})\][ \t]*)?(.*)$/is;

/** UTF-8 that was read with one character for each byte. */
function decode(bytes: string): string {
  return /[\x80-\xff]/.test(bytes) ? Buffer.from(bytes, 'latin1').toString('utf8') : bytes;
}

/** Nothing that could be meant: some servers send blank lines before they answer. */
export function isBlankLine(line: Buffer): boolean {
  for (const byte of line) if (byte > 0x20) return false;
  return true;
}

/** What a refused greeting or login means: a lock and a passing trouble are not the password's fault. */
export function readRefusal(reply: StatusLine): 'locked' | 'unavailable' | 'permanent' | 'credentials' {
  switch (reply.responseCode) {
    case 'IN-USE':
    case 'LOGIN-DELAY':
      return 'locked';
    case 'SYS/TEMP':
      return 'unavailable';
    case 'SYS/PERM':
      return 'permanent';
    case 'AUTH':
      return 'credentials';
    default:
      // Servers without RESP-CODES say it in words: "maildrop already locked", "mailbox in use by another client". An
      // account that is locked does not open by waiting.
      if (/\baccount\b/i.test(reply.text)) return 'credentials';
      return /\block(?:ed)?\b|\bin use\b|\bbusy\b/i.test(reply.text) ? 'locked' : 'credentials';
  }
}

/** `+OK 2 320` (RFC 1939 §5); null where the server broke it. */
export function parseStat(text: string): { count: number; bytes: number } | null {
  const match = /^\s*(\d{1,15})\s+(\d{1,15})/.exec(text);
  return match ? { count: Number(match[1]), bytes: Number(match[2]) } : null;
}

export interface ListEntry {
  /** Message number, from 1 on (RFC 1939 §5). */
  number: number;
  /** Octets, as the server states them: they may lie. Null where they are no number. */
  bytes: number | null;
}

/** A language for the server's texts. */
export interface Pop3Language {
  /** RFC 5646. */
  tag: string;
  /** In that language itself. */
  description: string;
}

export interface UidlEntry {
  number: number;
  /** One character for each byte; null where it is blank or absent. */
  uidl: string | null;
}

/** A line of LIST: `1 120`; null where it names no message. A size that is none (absent, negative) hides no message. */
export function parseListLine(line: string): ListEntry | null {
  const match = /^[ \t]*(\d{1,10})(?:[ \t]+(\d+)?|$)/.exec(line);
  if (!match) return null;
  const bytes = Number(match[2] ?? NaN);
  return { number: Number(match[1]), bytes: Number.isSafeInteger(bytes) ? bytes : null };
}

/**
 * A line of UIDL: `1 whqtswO00WBw418f9t5JxYwZ`; an absent or blank unique-id is null. Only spaces and tabs around it are
 * taken off: `\s` and `trim` would also take 0xA0, which may be a byte of it.
 */
export function parseUidlLine(line: string): UidlEntry | null {
  const match = /^[ \t]*(\d{1,10})(?:[ \t]+(.*))?$/s.exec(line);
  if (!match) return null;
  const written = match[2] ?? '';
  let end = written.length;
  while (written[end - 1] === ' ' || written[end - 1] === '\t') end -= 1;
  return { number: Number(match[1]), uidl: written.slice(0, end) || null };
}

/** A line of LANG (RFC 6856 §3.2): a tag, and the name of the language in itself; null where there is none. */
export function parseLanguage(line: string): Pop3Language | null {
  const [, tag, description = ''] = /^(\S+)[ \t]*(.*)$/.exec(decode(line)) ?? [];
  return tag === undefined ? null : { tag, description };
}

/** Server text fit for an error: secrets taken out, cut, quoted; control, bidi and invisible characters escaped. */
export function quoteServerText(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) if (secret !== '') clean = clean.replaceAll(secret, '[redacted]');
  const cut = clean.length > serverTextCharsMax ? `${clean.slice(0, serverTextCharsMax)}...` : clean;
  return JSON.stringify(cut.toWellFormed()).replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}
