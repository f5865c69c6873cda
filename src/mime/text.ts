/** Strings fit to keep: out of bytes of unknown charset, and into JSON. */

import { decodeText } from './charset.ts';

/**
 * Bytes that should be ASCII or UTF-8 (RFC 6532), and may come from a sender that never asked.
 * @param charset what they may be in, as others near them are; null where nothing says that.
 */
export function decodeBytes(bytes: Uint8Array, charset: string | null = null): string {
  const plain = decodeText(bytes, null);
  const isSure = charset === null || plain.used === 'utf-8' || plain.used === 'iso-2022-jp';
  return isSure ? plain.text : decodeText(bytes, charset).text;
}

/** `text` fit for JSON and for every store behind it, and whether it had to be cut to `charsMax`. */
export function clean(text: string, charsMax: number): { text: string; cut: boolean } {
  const cut = text.length > charsMax;
  const kept = cut ? text.slice(0, isHighSurrogate(text.charCodeAt(charsMax - 1)) ? charsMax - 1 : charsMax) : text;
  return { text: kept.toWellFormed().replaceAll('\0', '\uFFFD'), cut };
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}
