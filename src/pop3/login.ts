/**
 * Logging in: the offered ways in their order, each to its +OK or its refusal (RFC 1939 §4 and §7, RFC 5034). What the ways
 * are and which comes next is decided in `sasl/`; here they meet the connection.
 */
import { randomBytes } from 'node:crypto';
import { encodeCommand } from './command-line.ts';
import { Pop3CommandError, Pop3ConnectionError, Pop3ProtocolError } from './errors.ts';
import { parseStatusLine, quoteServerText, readRefusal, type StatusLine } from './replies.ts';
import {
  apopCommand,
  createMechanism,
  nextWay,
  runExchange,
  selectLoginWays,
  type ChannelBinding,
  type Credentials,
  type ExchangeOutcome,
  type LoginAttempt,
  type LoginOffer,
  type LoginWay,
} from './sasl/index.ts';
import type { Pop3Settings } from './settings.ts';

export interface LoginOptions {
  place: string;
  host: string;
  port: number;
  credentials: Credentials;
  /** The only way to try. */
  way?: LoginWay;
  /** The server refuses an initial response in the AUTH line, though it lists SASL. */
  twoStep: boolean;
  /** What CAPA says; null where it was not asked, or says nothing. */
  offered: LoginOffer | null;
  tls: boolean;
  binding: ChannelBinding | null;
  /** From the greeting; null where it has none. */
  apopChallenge: string | null;
  connection: {
    readonly isClosed: boolean;
    /** By the server. */
    readonly isBrokenOff: boolean;
  };
  /** Sends a line and gives the one that answers it; the second argument is what no error may show, should it be echoed. */
  send(line: string, secret: string): Promise<Buffer>;
  /** The server broke the exchange: what it says next answers nothing. */
  drop(): void;
  /** What a refusal means. */
  refused(reply: StatusLine): Pop3CommandError;
}

/**
 * @throws Pop3CommandError of the last refusal; Pop3ProtocolError where the server broke the exchange; Pop3ConnectionError
 * with `upstream_auth_failed` where it hung up on the credentials, as popa3d does on wrong ones.
 */
export async function logIn(options: LoginOptions): Promise<void> {
  const { binding, credentials, offered, place, apopChallenge, tls, way: override } = options;
  const ways = selectLoginWays({
    place,
    credentials,
    offered,
    tls,
    canBind: binding !== null,
    apopChallenge,
    ...(override && { override }),
  });
  const attempts: LoginAttempt[] = [];
  let refusal: Pop3CommandError | undefined;
  let isSecretOut = false;
  const send: Send = (line, secret) => {
    isSecretOut ||= secret !== '' && !options.connection.isClosed;
    return options.send(line, secret);
  };
  for (let way = nextWay(ways, attempts); way !== null; way = nextWay(ways, attempts)) {
    let outcome: Awaited<ReturnType<typeof tryWay>>;
    try {
      outcome = await tryWay(way, options, send);
    } catch (error) {
      if (!options.connection.isBrokenOff) throw error;
      // A server that refuses and is gone before the next way was tried has refused.
      throw refusal ?? (isSecretOut && isEndOfConnection(error) ? hungUpOnCredentials(place, error) : error);
    }
    if (outcome.reply.ok) return;
    attempts.push({ way, ...outcome });
    const told = readRefusal(outcome.reply) === 'credentials' ? outcome.failure : null;
    refusal = explainRefusal(options.refused(outcome.reply), told);
  }
  throw refusal ?? new Error('No way to log in was tried');
}

/** What a mechanism has learnt within its exchange says more than the -ERR behind it, but for the response code. */
function explainRefusal(refused: Pop3CommandError, told: Pop3CommandError | null): Pop3CommandError {
  if (!told) return refused;
  const { code, fields, message, phase } = told;
  return new Pop3CommandError(code, phase, message, { fields, responseCode: refused.responseCode });
}

/** In good order and without a word: a reset, or a word cut short, would be a network's, or a crash. */
function isEndOfConnection(error: unknown): error is Pop3ConnectionError {
  return error instanceof Pop3ConnectionError && error.fields['isMidway'] === false;
}

function hungUpOnCredentials(place: string, cause: Pop3ConnectionError): Pop3ConnectionError {
  const text = `${place} hung up on the user name and the password, as some servers do where these are wrong. Check both.`;
  return new Pop3ConnectionError('upstream_auth_failed', 'login', text, { cause });
}

/** What the settings have to log in with. */
export function readCredentials({
  username,
  password = '',
  accessToken,
  authzid,
  mechanism,
}: Pop3Settings): Credentials {
  const identity = authzid === undefined ? {} : { authzid };
  if (mechanism === 'EXTERNAL') return { kind: 'external', ...identity };
  if (accessToken !== undefined) return { kind: 'token', username, accessToken };
  return { kind: 'password', username, password, ...identity };
}

type Send = (line: string, secret: string) => Promise<Buffer>;

async function tryWay(
  way: LoginWay,
  options: LoginOptions,
  send: Send,
): Promise<ExchangeOutcome & { failure: Pop3CommandError | null }> {
  const { credentials, drop, offered, place, twoStep } = options;
  if (way === 'user') return { ...(await sayUserAndPass(options, send)), failure: null };
  if (way === 'apop') return { ...(await sayApop(options, send)), failure: null };
  const mechanism = createMechanism(way, credentials, { ...options, randomBytes });
  const inline = offered !== null && !twoStep;
  try {
    const outcome = await runExchange(mechanism, { place, secrets: secretsOf(credentials), inline, send });
    return { ...outcome, failure: mechanism.failure };
  } catch (error) {
    drop();
    throw error;
  }
}

async function sayUserAndPass(options: LoginOptions, send: Send): Promise<ExchangeOutcome> {
  const { credentials } = options;
  if (credentials.kind !== 'password') throw new Error('USER and PASS need a password');
  const { username, password } = credentials;
  // What cannot be sent is refused before the first of the two lines is.
  const [user, pass] = [`USER ${username}`, `PASS ${password}`];
  for (const line of [user, pass]) encodeCommand(line, 'login');
  const known = await askForStatus(options, send, user, '');
  if (!known.ok) return { reply: known, credentialsSent: false };
  return { reply: await askForStatus(options, send, pass, password), credentialsSent: true };
}

async function sayApop(options: LoginOptions, send: Send): Promise<ExchangeOutcome> {
  const { credentials, apopChallenge } = options;
  if (credentials.kind !== 'password' || apopChallenge === null)
    throw new Error('APOP needs a password and a timestamp');
  const line = apopCommand(credentials, apopChallenge);
  return {
    reply: await askForStatus(options, send, line, line.slice(line.lastIndexOf(' ') + 1)),
    credentialsSent: true,
  };
}

async function askForStatus(
  { place, credentials, drop }: LoginOptions,
  send: Send,
  line: string,
  secret: string,
): Promise<StatusLine> {
  const answer = await send(line, secret);
  const reply = parseStatusLine(answer);
  if (reply) return reply;
  drop();
  const quoted = quoteServerText(answer.toString('utf8'), secretsOf(credentials));
  const text = `${place}: the answer begins neither with +OK nor with -ERR: ${quoted}.`;
  throw new Pop3ProtocolError('upstream_protocol_error', 'login', text);
}

function secretsOf(credentials: Credentials): string[] {
  if (credentials.kind === 'external') return [];
  return [credentials.kind === 'password' ? credentials.password : credentials.accessToken];
}
