/** Recognises what answers on a port that is no POP3 server, by its first line. */

export interface ForeignProtocol {
  name: string;
  advice: string;
}

const KNOWN: readonly { pattern: RegExp; name: string; advice: string }[] = [
  { pattern: /^[245]\d\d[ -].*(?:smtp|mail)/i, name: 'SMTP', advice: 'use the port of its POP3 service (995 or 110)' },
  { pattern: /^[245]\d\d[ -]/, name: 'SMTP or FTP', advice: 'use the port of its POP3 service (995 or 110)' },
  { pattern: /^\* (?:OK|PREAUTH|BYE)\b/i, name: 'IMAP', advice: 'use the port of its POP3 service (995 or 110)' },
  { pattern: /^HTTP\/\d/i, name: 'HTTP', advice: 'use the POP3 server of the mail provider, not a web address' },
  { pattern: /^SSH-/, name: 'SSH', advice: 'use the port of its POP3 service (995 or 110)' },
  { pattern: /^\+ ?POP2\b/i, name: 'POP2 (RFC 937)', advice: 'the server is too old to be read' },
  { pattern: /^[\x15\x16]\x03[\x00-\x04]/, name: 'TLS', advice: 'set tls to "implicit"' },
];

/** Null where the bytes match nothing known. */
export function recogniseProtocol(firstLine: Buffer): ForeignProtocol | null {
  const text = firstLine.subarray(0, 200).toString('latin1');
  return KNOWN.find(({ pattern }) => pattern.test(text)) ?? null;
}
