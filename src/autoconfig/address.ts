/** An e-mail address, as far as finding its server needs it. */
import { isIP } from 'node:net';
import { AppError } from '../errors.ts';
import { canonicalHost } from '../identity.ts';
import { localPartCharsMax } from './limits.ts';

export interface EmailAddress {
  /** Its domain in ASCII. */
  readonly text: string;
  readonly localPart: string;
  /** Lower-case ASCII (IDNA), of two labels at least. */
  readonly domain: string;
}

const DOMAIN = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** @throws AppError `invalid_request` for what is no address, or has no domain name. */
export function parseEmailAddress(written: string): EmailAddress {
  const at = written.lastIndexOf('@');
  const [localPart, after] = [written.slice(0, Math.max(at, 0)), written.slice(at + 1)];
  if (localPart === '' || localPart.length > localPartCharsMax || /[\s"@<>\p{Cc}]/u.test(localPart)) throw invalid();
  // domainToASCII would cut these off, or decode them.
  if (/[\s/\\?#@%:[\]\p{Cc}]/u.test(after)) throw invalid();
  const domain = canonicalHost(after);
  if (!DOMAIN.test(domain) || isIP(domain) !== 0) throw invalid();
  return { text: `${localPart}@${domain}`, localPart, domain };
}

function invalid(): AppError {
  const detail = 'is no e-mail address with a domain name, such as `you@example.com`';
  return new AppError('invalid_request', `The request is not valid: body/email ${detail}.`, {
    fields: { errors: [{ in: 'body', pointer: '/email', detail }] },
  });
}
