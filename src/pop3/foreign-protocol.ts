/** Recognises what answers on a port that is no POP3 server, by its first bytes. */
import { firstBytesMax } from './limits.ts';

export interface ForeignProtocol {
  name: string;
  advice: string;
}

const USE_POP3_PORT = 'use the port of its POP3 service (995 or 110)';

/** The first that matches counts. Text patterns match the beginning of a line that has not come to its end as well. */
const KNOWN: readonly { pattern: RegExp; name: string; advice: string }[] = [
  // Alert, handshake or any other record of TLS 1.0 to 1.3 or SSL 3 (RFC 8446 §5.1).
  { pattern: /^[\x14-\x17]\x03(?:[\x00-\x04]|$)/, name: 'TLS', advice: 'set tls to "implicit"' },
  {
    pattern: /^(?:HTTP\/\d|\s*<(?:!doctype html|html|\?xml)\b)/i,
    name: 'HTTP',
    advice: 'use the POP3 server of the mail provider, not a web address',
  },
  // A SETTINGS frame, which is the first thing that a server says (RFC 9113 §3.4).
  {
    pattern: /^\0[\s\S]{2}\x04\0\0{4}/,
    name: 'HTTP/2',
    advice: 'use the POP3 server of the mail provider, not a web address',
  },
  { pattern: /^\* (?:OK|PREAUTH|BYE)\b/i, name: 'IMAP', advice: USE_POP3_PORT },
  { pattern: /^"(?:IMPLEMENTATION|SIEVE|SASL|VERSION|NOTIFY)"/i, name: 'ManageSieve', advice: USE_POP3_PORT },
  { pattern: /^SSH-/, name: 'SSH', advice: USE_POP3_PORT },
  // IAC and WILL, WONT, DO or DONT (RFC 854).
  { pattern: /^\xff[\xfb-\xfe]/, name: 'Telnet', advice: USE_POP3_PORT },
  { pattern: /^RFB \d{3}\.\d{3}/, name: 'VNC', advice: USE_POP3_PORT },
  { pattern: /^\+ ?POP2\b/i, name: 'POP2 (RFC 937)', advice: 'the server is too old to be read' },
  // RFC 3977 §5.1: 200 and 201 greet; SMTP and FTP have neither.
  { pattern: /^(?:20[01](?:[ -]|$)|[45]\d\d[ -].*(?:nntp|nnrp|news))/i, name: 'NNTP', advice: USE_POP3_PORT },
  { pattern: /^[245]\d\d[ -].*(?:smtp|lmtp)/i, name: 'SMTP', advice: USE_POP3_PORT },
  { pattern: /^[245]\d\d[ -].*ftp/i, name: 'FTP', advice: USE_POP3_PORT },
  { pattern: /^[245]\d\d[ -].*mail/i, name: 'SMTP', advice: USE_POP3_PORT },
  { pattern: /^[245]\d\d(?:[ -]|$)/, name: 'SMTP or FTP', advice: USE_POP3_PORT },
];

/**
 * For whatever came first, be it a line, a part of one, or no text at all. Null where the bytes match nothing known, as
 * the beginning of a POP3 greeting does not.
 */
export function recogniseProtocol(firstBytes: Buffer): ForeignProtocol | null {
  const text = firstBytes.subarray(0, firstBytesMax).toString('latin1');
  return KNOWN.find(({ pattern }) => pattern.test(text)) ?? null;
}
