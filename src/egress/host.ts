/** A host as somebody wrote it, in the one spelling that everything after works on. */
import { domainToASCII } from 'node:url';
import { readAddress } from './address.ts';
import type { Ip } from './address.ts';
import { hostCharsMax, quotedCharsMax } from './limits.ts';

export type Host =
  | { readonly kind: 'address'; readonly address: Ip; readonly text: string }
  | { readonly kind: 'name'; readonly text: string };

const NAME = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/**
 * Null for what is neither a host name nor an address. Names come out in lower-case ASCII (IDNA) without the final dot.
 *
 * A resolver reads `0x7f.1`, `2130706433` and `127.1` as 127.0.0.1; so does domainToASCII (the WHATWG host parser, which
 * URL uses as well), and they come out as the addresses that they are.
 */
export function parseHost(written: string): Host | null {
  const bare = written.startsWith('[') && written.endsWith(']') ? written.slice(1, -1) : written;
  if (bare.includes(':')) {
    const address = readAddress(bare);
    return address === null ? null : { kind: 'address', address, text: address.toString() };
  }
  // domainToASCII decodes %31 and cuts at / ? # \ instead of refusing them.
  if (bare !== written || bare.length > hostCharsMax * 4 || /[\s/\\?#@%\p{Cc}]/u.test(bare)) return null;
  const text = domainToASCII(bare).replace(/\.$/, '');
  const address = readAddress(text);
  if (address !== null) return { kind: 'address', address, text: address.toString() };
  return text.length <= hostCharsMax && NAME.test(text) ? { kind: 'name', text } : null;
}

/** What a caller wrote, fit for an error message. */
export function quoteInput(written: string): string {
  return JSON.stringify(written.slice(0, quotedCharsMax).toWellFormed());
}
