/**
 * Proving to a POP3 server who one is: the SASL mechanisms (RFC 4422) and how POP3 carries them (RFC 5034), APOP, and
 * which of the offered ways to try in what order.
 *
 * Bytes in, bytes out: it owns no socket, no time-out and no state between sessions. USER and PASS, which are plain
 * commands, and what a refused login means for the caller are the client's. Passwords and tokens live in closures, so
 * that no object made here shows them.
 */
export { apopCommand, readApopChallenge } from './apop.ts';
export { readChannelBinding, type BindingSource, type ChannelBinding } from './channel-binding.ts';
export { encodeAuthCommand, encodeResponse, parseChallenge, runExchange, type ExchangeOutcome } from './exchange.ts';
export {
  isLoginWay,
  LOGIN_WAYS,
  type Credentials,
  type LoginOffer,
  type LoginWay,
  type Mechanism,
  type MechanismName,
  type SaslContext,
} from './mechanism.ts';
export { createMechanism } from './mechanisms.ts';
export { nextWay, readOffer, selectLoginWays, type LoginAttempt } from './selection.ts';
