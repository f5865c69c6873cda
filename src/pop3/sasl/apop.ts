/**
 * APOP (RFC 1939 §7): MD5 over the greeting's timestamp and the password.
 *
 * Broken: who can choose timestamps learns the password's first characters from MD5 collisions (CVE-2007-1558). A strict
 * reading of the timestamp makes that costly but not impossible, so selection.ts allows APOP under TLS only, and last.
 */
import { createHash } from 'node:crypto';
import { refusedLogin } from './errors.ts';
import { apopChallengeBytesMax } from './limits.ts';
import type { PasswordCredentials } from './mechanism.ts';

/** RFC 5322 §3.6.4, without its obsolete forms. No character of an atom is a dot or an @: matching is linear. */
const MSG_ID =
  /^<[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*|\[[\x21-\x5a\x5e-\x7e]*\])>$/i;

/** The timestamp in a greeting's text; null unless there is exactly one pair of angle brackets, around a msg-id. */
export function readApopChallenge(greeting: string): string | null {
  const challenge = /^[^<>]*(<[^<>]*>)[^<>]*$/.exec(greeting)?.[1];
  if (challenge === undefined || challenge.length > apopChallengeBytesMax) return null;
  return MSG_ID.test(challenge) ? challenge : null;
}

/**
 * The command line, without CRLF.
 * @param challenge as `readApopChallenge` gave it.
 * @throws Pop3CommandError for a user name that would read as two arguments.
 */
export function apopCommand({ username, password }: PasswordCredentials, challenge: string): string {
  if (!/^[^\s\p{Cc}]+$/u.test(username)) throw refusedLogin('APOP takes no user name that is empty or holds spaces.');
  return `APOP ${username} ${createHash('md5').update(`${challenge}${password}`, 'utf8').digest('hex')}`;
}
