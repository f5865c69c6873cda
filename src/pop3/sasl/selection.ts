/** Which ways to log in there are, in what order they are tried, and whether another one is after a refusal. */
import type { Capabilities } from '../capabilities.ts';
import { readRefusal, type StatusLine } from '../replies.ts';
import { refusedLogin } from './errors.ts';
import { credentialAttemptsMax, offeredMechanismsMax } from './limits.ts';
import type { Credentials, LoginOffer, LoginWay } from './mechanism.ts';

/**
 * Best first: what proves the server too, and with a channel binding that nobody sits between; what keeps the password
 * from the server; what hands it over; APOP, for a server that has nothing else. The same without TLS.
 */
const WAYS_OF: Readonly<Record<Credentials['kind'], readonly LoginWay[]>> = {
  password: [
    'SCRAM-SHA-256-PLUS',
    'SCRAM-SHA-1-PLUS',
    'SCRAM-SHA-256',
    'SCRAM-SHA-1',
    'CRAM-MD5',
    'PLAIN',
    'LOGIN',
    'user',
    'apop',
  ],
  token: ['OAUTHBEARER', 'XOAUTH2'],
  external: ['EXTERNAL'],
};

/** The password itself goes to the server, which can check it however it keeps it. */
const HANDS_OVER: ReadonlySet<LoginWay> = new Set(['PLAIN', 'LOGIN', 'user']);
/** Has a place for an authorization identity. */
const TAKES_AUTHZID = /^(?:SCRAM-.*|PLAIN|EXTERNAL)$/;

export interface SelectionOptions {
  /** `host:port`, for messages. */
  place: string;
  credentials: Credentials;
  /** Null where the server does not know CAPA. After STLS: what CAPA says since. */
  offered: LoginOffer | null;
  tls: boolean;
  /** The connection gives channel binding. */
  canBind: boolean;
  /** From `readApopChallenge`. */
  apopChallenge: string | null;
  /** The only way to try, whatever seems better. */
  override?: LoginWay;
}

/** What CAPA says of logging in; null where it said nothing at all. Names that are none (RFC 4422 §3.1) are left out. */
export function readOffer(capabilities: Capabilities): LoginOffer | null {
  if (capabilities.entries.size === 0) return null;
  const sasl = [...new Set(capabilities.sasl)]
    .filter((name) => /^[A-Z0-9_-]{1,20}$/.test(name))
    .slice(0, offeredMechanismsMax);
  return { sasl, user: capabilities.has('USER') };
}

/**
 * The ways to try, best first; at least one.
 * @throws Pop3CommandError, with what is offered in `fields.offered`, where there is none.
 */
export function selectLoginWays(options: SelectionOptions): readonly LoginWay[] {
  const { credentials, offered, override, place, tls } = options;
  if (override !== undefined) {
    const why = explainImpossible(override, options);
    if (why !== null) throw refusedLogin(`${override} cannot be used for ${place}: ${why}.`, listOffer(offered));
    if (isOffered(override, options) || offered === null) return [override];
    throw refusedLogin(`${place} does not offer ${override}, it offers ${describeOffer(offered)}.`, listOffer(offered));
  }
  const possible = WAYS_OF[credentials.kind].filter((way) => explainImpossible(way, options) === null);
  // A bearer token in the clear is anybody's (RFC 7628 §4): only where it is explicitly asked for, by an override.
  const allowed = credentials.kind === 'token' && !tls ? [] : possible;
  const ways = allowed.filter((way) => isOffered(way, options));
  if (ways.length > 0) return ways;
  const hint = tls ? '' : ' Many servers allow a login under TLS only: set tls to "implicit" or "starttls".';
  throw refusedLogin(
    `${place} offers no way to log in with credentials of the kind "${credentials.kind}", it offers ${describeOffer(offered)}.${hint}`,
    listOffer(offered),
  );
}

/** One way that was tried and refused. */
export interface LoginAttempt {
  way: LoginWay;
  /** The -ERR that ended it. */
  reply: StatusLine;
  /** The server was sent more than the name of the way: the refusal may count as a failed login. */
  credentialsSent: boolean;
}

/**
 * The way to try after these attempts; null to give up.
 *
 * A refusal may come from the way and not from the password: Dovecot offers CRAM-MD5 and SCRAM for all users, and answers
 * `-ERR [AUTH]` for those whose password it keeps hashed otherwise, as it does for a wrong password (seen on 2.3.19). So
 * the response code does not tell the two apart, and after a way that only proves the password one that hands it over is
 * tried: any store can check that. Never a third: lock-outs begin at three failures. A refused password is not handed
 * over again by another name, and a refused token is refused. Without TLS it is no different: who could forge the refusal
 * could strip the offer as well, and an override shuts both out.
 */
export function nextWay(ways: readonly LoginWay[], attempts: readonly LoginAttempt[]): LoginWay | null {
  const last = attempts.at(-1);
  const untried = ways.filter((way) => !attempts.some((attempt) => attempt.way === way));
  if (!last) return untried[0] ?? null;
  // A lock or a passing trouble is not the way's fault.
  if (readRefusal(last.reply) !== 'credentials') return null;
  if (!last.credentialsSent) return untried[0] ?? null;
  if (attempts.filter((attempt) => attempt.credentialsSent).length >= credentialAttemptsMax) return null;
  if (HANDS_OVER.has(last.way)) return null;
  return untried.find((way) => HANDS_OVER.has(way)) ?? null;
}

function isOffered(way: LoginWay, { offered, credentials }: SelectionOptions): boolean {
  if (way === 'apop') return true; // By the greeting.
  // Without CAPA a password goes by USER and PASS, which every server knows. For the rest, asking is the only way to know.
  if (offered === null) return way === 'user' || credentials.kind !== 'password';
  // Old servers list neither SASL nor USER, and know USER all the same. Where it is missing on purpose (Dovecot without TLS),
  // asking costs nothing: USER is refused before PASS is sent.
  return way === 'user' ? offered.user || offered.sasl.length === 0 : offered.sasl.includes(way);
}

/** Null where the way can be used on this connection with these credentials, were it offered. */
function explainImpossible(
  way: LoginWay,
  { credentials, tls, canBind, apopChallenge }: SelectionOptions,
): string | null {
  if (!WAYS_OF[credentials.kind].includes(way)) return `it does not take credentials of the kind "${credentials.kind}"`;
  // Without its place in the exchange the identity would be lost, and another maildrop opened.
  const hasAuthzid = 'authzid' in credentials && (credentials.authzid ?? '') !== '';
  if (hasAuthzid && !TAKES_AUTHZID.test(way)) return 'it has no place for an authorization identity';
  if (way.endsWith('-PLUS') && !canBind) return 'the connection gives no channel binding';
  if (way !== 'apop') return null;
  if (!tls) return 'it is unsafe without TLS';
  return apopChallenge === null ? 'the greeting holds no timestamp in the form of a msg-id' : null;
}

function describeOffer(offered: LoginOffer | null): string {
  if (!offered) return 'nothing that it names (it does not know CAPA)';
  return listOffer(offered).offered.join(', ') || 'nothing';
}

function listOffer(offered: LoginOffer | null): { offered: readonly string[] } {
  return { offered: offered ? [...offered.sasl, ...(offered.user ? ['user'] : [])] : [] };
}
