/**
 * Bytes of text to text, as mainstream mail clients read them: by the WHATWG's encodings, which take the names that mail uses for
 * the charsets that its senders meant (`gb2312` is GBK, `iso-8859-1` and `us-ascii` are windows-1252, `ks_c_5601-1987` is its
 * Windows superset), and past the declaration where the bytes show that it is wrong.
 *
 * What is believed more than the declaration: a byte order mark; escape sequences of ISO-2022-JP in bytes that are otherwise ASCII;
 * UTF-8, where a Western charset, none or an unknown one is declared, as no text in another charset looks like it by chance. And
 * less: UTF-8, where the bytes are none. What names no charset and is none of these is guessed (chardet) where it is long enough.
 */
import { analyse } from 'chardet';
import iconv from 'iconv-lite';
import libmime from 'libmime';
import { isAscii } from 'node:buffer';
import { guessBytesMax, guessBytesMin, guessConfidenceMin, metaBytesMax } from './limits.ts';

export interface DecodedText {
  readonly text: string;
  /** As it is called by the WHATWG or, where it does not know it, by IANA. */
  readonly used: string;
  /** Characters that stand for bytes which are none in that charset. */
  readonly replaced: number;
  /** What was declared is a charset that can be read; true where none was. */
  readonly isKnown: boolean;
}

const REPLACEMENT = '\uFFFD';
const WESTERN = new Set(['windows-1252', 'iso-8859-15']);
const FALLBACK = 'windows-1252';
/** ESC $ B, ESC $ @, ESC ( J, ESC ( I (RFC 1468, and JIS X 0201). */
const JAPANESE_ESCAPE = /\u001B(?:\$[@B]|\([IJ])/;
const BYTE_ORDER_MARKS: readonly (readonly [mark: Buffer, charset: string])[] = [
  [Buffer.from([0xef, 0xbb, 0xbf]), 'utf-8'],
  [Buffer.from([0xfe, 0xff]), 'utf-16be'],
  [Buffer.from([0xff, 0xfe]), 'utf-16le'],
];

/** @param declared null where none is. */
export function decodeText(bytes: Uint8Array, declared: string | null, isHtml = false): DecodedText {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const name = declared ?? (isHtml ? findMeta(buffer) : null);
  const charset = name === null ? null : resolve(name);
  const isKnown = declared === null || charset !== null;
  const decode = (used: Charset): DecodedText => ({ ...decodeAs(buffer, used), isKnown });

  const marked = BYTE_ORDER_MARKS.find(([mark]) => buffer.subarray(0, mark.length).equals(mark));
  if (marked) return decode({ name: marked[1], isWhatwg: true });
  if (isAscii(buffer)) return decode(resolveAscii(buffer, charset));
  if (charset !== null && !WESTERN.has(charset.name) && charset.name !== 'utf-8') return decode(charset);
  const utf8 = decode({ name: 'utf-8', isWhatwg: true });
  if (utf8.replaced === 0) return utf8;
  if (charset?.name === 'utf-8') return isMostly(utf8) ? utf8 : decode(guess(buffer));
  return decode(charset ?? guess(buffer));
}

interface Charset {
  readonly name: string;
  /** Read by TextDecoder; else by iconv-lite. */
  readonly isWhatwg: boolean;
}

/** Null for a name that nobody knows. */
function resolve(written: string): Charset | null {
  const name = written
    .trim()
    .replaceAll(/^["']+|["';]+$/g, '')
    .toLowerCase();
  if (/^(?:x-)?(?:unicode-1-1-)?utf-?7$/.test(name)) return { name: 'utf-7', isWhatwg: false };
  // Bytes of no charset, which the WHATWG has for scripts.
  if (name === 'x-user-defined') return null;
  // Its table knows what mailers have made of the names: `utf8`, `latin-1`, `win-1251`, ...
  const names = [ALIASES.get(name) ?? name, libmime.normalizeCharset(name).toLowerCase(), ...codePageNames(name)];
  return firstOf(names, resolveWhatwg) ?? firstOf(names.toReversed(), resolveOther);
}

function firstOf(names: readonly string[], find: (name: string) => Charset | null): Charset | null {
  for (const name of names) {
    const found = find(name);
    if (found !== null) return found;
  }
  return null;
}

function resolveWhatwg(name: string): Charset | null {
  try {
    return { name: new TextDecoder(name).encoding, isWhatwg: true };
  } catch {
    return null;
  }
}

/** `hex` and `base64` are codecs of the library, and no charsets: these have a number. */
function resolveOther(name: string): Charset | null {
  return /\d/.test(name) && name !== 'base64' && iconv.encodingExists(name) ? { name, isWhatwg: false } : null;
}

/** Windows' and IBM's numbers, by whatever prefix. */
function codePageNames(name: string): string[] {
  const page = /^(?:x-)?(?:cp|ms|ibm|dos|win|windows)[-_]?0*(\d{3,5})$/.exec(name)?.[1];
  return page === undefined ? [] : [CODE_PAGES.get(page) ?? `windows-${page}`, `cp${page}`];
}
/** Names that neither table knows. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['euc-cn', 'gbk'],
  ['euccn', 'gbk'],
  ['eucjp', 'euc-jp'],
  ['eucjp-ms', 'euc-jp'],
  ['eucjp-win', 'euc-jp'],
  ['cp51932', 'euc-jp'],
  ['cp50220', 'iso-2022-jp'],
  ['cp50221', 'iso-2022-jp'],
  ['cp50222', 'iso-2022-jp'],
  ['iso-2022-jp-ms', 'iso-2022-jp'],
]);
const CODE_PAGES: ReadonlyMap<string, string> = new Map([
  ['932', 'shift_jis'],
  ['936', 'gbk'],
  ['949', 'euc-kr'],
  ['950', 'big5'],
  ['65001', 'utf-8'],
]);

function decodeAs(bytes: Buffer, { name, isWhatwg }: Charset): Omit<DecodedText, 'isKnown'> {
  // Encoded words of a long subject end in ASCII and begin anew, which is no error where they are one text.
  const whole = name === 'iso-2022-jp' ? withoutIdleEscapes(bytes) : bytes;
  // Node's EUC-KR is without the superset that the WHATWG means by it.
  const text =
    isWhatwg && name !== 'euc-kr'
      ? new TextDecoder(name).decode(whole)
      : iconv.decode(bytes, name === 'euc-kr' ? 'cp949' : name);
  const replaced = count(text, REPLACEMENT);
  // The character itself may be written: then nothing was replaced.
  const written = replaced > 0 && name === 'utf-8' ? count(bytes.toString('latin1'), '\u00EF\u00BF\u00BD') : 0;
  return { text, used: name, replaced: Math.max(0, replaced - written) };
}

/** TextDecoder takes a change of character set with no character behind it for an attack, and says so with U+FFFD. */
function withoutIdleEscapes(bytes: Buffer): Buffer {
  const escapes = /(?:\u001B(?:\([BIJ]|\$[@B]))+(?=\u001B(?:\([BIJ]|\$[@B]))/g;
  return Buffer.from(bytes.toString('latin1').replaceAll(escapes, ''), 'latin1');
}

/** Charsets whose bytes are all below 128 must be named, but for the one that shows itself. */
function resolveAscii(bytes: Buffer, charset: Charset | null): Charset {
  if (charset !== null && !['windows-1252', 'utf-8'].includes(charset.name)) return charset;
  const isJapanese = bytes.includes(0x1b) && JAPANESE_ESCAPE.test(bytes.toString('latin1'));
  return isJapanese ? { name: 'iso-2022-jp', isWhatwg: true } : (charset ?? { name: 'utf-8', isWhatwg: true });
}

/** A text in UTF-8 that was damaged on its way, and not one in another charset. */
function isMostly({ text, replaced }: DecodedText): boolean {
  let beyondAscii = 0;
  for (let at = 0; at < text.length && beyondAscii < replaced; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit > 0x7f && unit !== 0xff_fd) beyondAscii += 1;
  }
  return beyondAscii >= replaced;
}

function guess(bytes: Buffer): Charset {
  const fallback = { name: FALLBACK, isWhatwg: true };
  const sample = bytes.subarray(0, guessBytesMax);
  if (sample.filter((byte) => byte >= 0x80).length < guessBytesMin) return fallback;
  const [best] = analyse(sample);
  if (!best || best.confidence < guessConfidenceMin || /^(?:utf|iso-8859-1$|windows-1252$)/i.test(best.name))
    return fallback;
  const charset = resolve(best.name);
  // A guess that does not fit all of it was a wrong one.
  return charset !== null && decodeAs(bytes, charset).replaced === 0 ? charset : fallback;
}

/** `<meta charset>`, or what stands for it in `<meta http-equiv>`. */
function findMeta(bytes: Buffer): string | null {
  const beginning = bytes.toString('latin1', 0, metaBytesMax);
  const found = /<meta\b[^>]{0,200}?\bcharset\s{0,9}=\s{0,9}["']?([\w.:-]{1,40})/i.exec(beginning)?.[1];
  // The bytes say it in ASCII: they are in no UTF-16.
  return found === undefined || /^utf-?16/i.test(found) ? null : found;
}

function count(text: string, part: string): number {
  let found = 0;
  for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + part.length)) found += 1;
  return found;
}
