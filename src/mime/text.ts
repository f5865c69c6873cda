/** Strings fit to keep: out of bytes of unknown charset, and into JSON. */

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });
const windows1252 = new TextDecoder('windows-1252');

/**
 * Bytes that name no charset are UTF-8 (RFC 6532), or come from a sender that never asked; Windows-1252 then loses none of
 * them.
 */
export function decodeBytes(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return windows1252.decode(bytes);
  }
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
