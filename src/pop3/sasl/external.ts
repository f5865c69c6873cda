/** EXTERNAL (RFC 4422, appendix A): the server takes the identity from the TLS client certificate. */
import { refusedLogin } from './errors.ts';
import type { ExternalCredentials, Mechanism, SaslContext } from './mechanism.ts';
import { singleMessage } from './single-message.ts';

export function external({ authzid = '' }: ExternalCredentials, context: SaslContext): Mechanism {
  if (authzid.includes('\0')) throw refusedLogin('The authorization identity holds a NUL.');
  return singleMessage('EXTERNAL', Buffer.from(authzid, 'utf8'), context);
}
