/** The form of a URL that is called, a webhook's or a token endpoint's; where it leads is the policy's question. */
import { AppError } from '../errors.ts';
import { urlCharsMax } from './limits.ts';

/**
 * URL forgives what a sender of signed requests should not: white space, backslashes, credentials, missing slashes.
 * Errors do not repeat the URL, which may hold a password or a token.
 *
 * @throws AppError `egress_blocked`
 */
export function parseCalledUrl(written: string, what: string): URL {
  const refuse = (reason: string): AppError => new AppError('egress_blocked', `The ${what} is not allowed: ${reason}.`);
  if (written.length > urlCharsMax) throw refuse(`it is longer than ${urlCharsMax} characters`);
  if (/[\s\\\p{Cc}]/u.test(written)) throw refuse('it has white space, control characters or backslashes');
  if (!/^https?:\/\/[^/]/i.test(written)) throw refuse('it does not begin with https:// or http:// and a host');
  const url = URL.parse(written);
  if (url === null) throw refuse('it is not a valid URL');
  const authority = /^[^/]*\/\/([^/?#]*)/.exec(written)?.[1] ?? '';
  if (authority.includes('@')) throw refuse('it has a user name or password in it');
  if (written.includes('#')) throw refuse('it has a fragment, which is never sent');
  return url;
}
