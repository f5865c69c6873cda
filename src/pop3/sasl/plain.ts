/** PLAIN (RFC 4616): the password itself, in one message. */
import { refusedLogin } from './errors.ts';
import type { Mechanism, PasswordCredentials, SaslContext } from './mechanism.ts';
import { singleMessage } from './single-message.ts';

/** Sent as they are: preparing user name and password is the verifier's task (RFC 4616 §2). */
export function plain({ username, password, authzid = '' }: PasswordCredentials, context: SaslContext): Mechanism {
  const parts = [authzid, username, password];
  if (parts.some((part) => part.includes('\0'))) throw refusedLogin('The user name or the password holds a NUL.');
  return singleMessage('PLAIN', Buffer.from(parts.join('\0'), 'utf8'), context);
}
