/** How a login goes wrong on this side of the wire. No error quotes credentials, nor a server's text unescaped. */
import { Pop3CommandError, Pop3ProtocolError } from '../errors.ts';

/** The server broke the exchange, or is not whom it claims to be. `what` continues "host:port ...". */
export function brokenExchange(place: string, what: string): Pop3ProtocolError {
  return new Pop3ProtocolError('upstream_protocol_error', 'login', `${place} ${what}.`);
}

/** A login that cannot succeed until the mailbox's settings change. */
export function refusedLogin(message: string, fields: Readonly<Record<string, unknown>> = {}): Pop3CommandError {
  return new Pop3CommandError('upstream_auth_failed', 'login', message, { fields });
}
