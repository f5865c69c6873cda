/** What a SASL mechanism is, and what it is made from. */
import type { Pop3CommandError } from '../errors.ts';
import type { ChannelBinding } from './channel-binding.ts';

const MECHANISM_NAMES = [
  'SCRAM-SHA-256-PLUS',
  'SCRAM-SHA-1-PLUS',
  'SCRAM-SHA-256',
  'SCRAM-SHA-1',
  'CRAM-MD5',
  'PLAIN',
  'LOGIN',
  'OAUTHBEARER',
  'XOAUTH2',
  'EXTERNAL',
] as const;

export type MechanismName = (typeof MECHANISM_NAMES)[number];

/** Every way to log in: a SASL mechanism, `user` (USER and PASS) or `apop`. */
export const LOGIN_WAYS = [...MECHANISM_NAMES, 'user', 'apop'] as const;

export type LoginWay = (typeof LOGIN_WAYS)[number];

export function isLoginWay(name: string): name is LoginWay {
  return (LOGIN_WAYS as readonly string[]).includes(name);
}

export interface PasswordCredentials {
  kind: 'password';
  username: string;
  password: string;
  /** Whose maildrop to open, where that is not the user's own. */
  authzid?: string;
}

export interface TokenCredentials {
  kind: 'token';
  username: string;
  /** An OAuth 2.0 bearer token, without the word `Bearer`. */
  accessToken: string;
}

/** Who one is was shown outside of SASL: by a TLS client certificate. */
export interface ExternalCredentials {
  kind: 'external';
  authzid?: string;
}

export type Credentials = PasswordCredentials | TokenCredentials | ExternalCredentials;

/** What CAPA says of logging in. */
export interface LoginOffer {
  /** SASL mechanisms, in upper case. */
  readonly sasl: readonly string[];
  /** USER and PASS. */
  readonly user: boolean;
}

/** What a mechanism may know of the connection. */
export interface SaslContext {
  /** `host:port`, for messages. */
  readonly place: string;
  readonly host: string;
  readonly port: number;
  /** Null without TLS, or where this connection gives none. */
  readonly binding: ChannelBinding | null;
  /** Null where the server does not know CAPA. */
  readonly offered: LoginOffer | null;
  /** Cryptographically strong. */
  readonly randomBytes: (bytes: number) => Buffer;
}

/** One exchange, to be used once. The steps are its own: nothing else knows what a challenge means. */
export interface Mechanism {
  readonly name: MechanismName;
  /** The initial response, maybe empty; null where the server speaks first. */
  start(): Buffer | null;
  /** @throws Pop3ProtocolError for a challenge that is malformed, hostile or not due: the exchange must be cancelled. */
  respond(challenge: Buffer): Buffer | Promise<Buffer>;
  /** Once true, +OK ends the exchange. Before it no success is possible, and +OK is some server's way to write `+`. */
  readonly complete: boolean;
  /**
   * To be called at +OK.
   * @throws Pop3ProtocolError when the server has not proved what the mechanism makes it prove.
   */
  finish(): void;
  /** Why the server is about to refuse, if it told that within the exchange. */
  readonly failure: Pop3CommandError | null;
}
