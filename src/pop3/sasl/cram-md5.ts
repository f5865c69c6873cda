/** CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge. The server proves nothing, and must keep the password. */
import { createHmac } from 'node:crypto';
import { brokenExchange } from './errors.ts';
import type { Mechanism, PasswordCredentials, SaslContext } from './mechanism.ts';

/**
 * Any challenge is taken, a msg-id or not: HMAC-MD5 has none of the weakness that makes APOP's challenge dangerous. Not
 * prepared by SASLprep, which RFC 2195 does not know and no server does here.
 */
export function cramMd5({ username, password }: PasswordCredentials, { place }: SaslContext): Mechanism {
  let complete = false;
  return {
    name: 'CRAM-MD5',
    start: () => null,
    respond(challenge) {
      if (complete) throw brokenExchange(place, 'asks for more than CRAM-MD5 has to say');
      if (challenge.length === 0) throw brokenExchange(place, 'sent no challenge for CRAM-MD5');
      complete = true;
      return Buffer.from(`${username} ${createHmac('md5', password).update(challenge).digest('hex')}`, 'utf8');
    },
    get complete() {
      return complete;
    },
    finish() {},
    failure: null,
  };
}
