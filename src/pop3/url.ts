/**
 * POP URLs (RFC 2384), and those that people write: settings of a session in one line.
 *
 * `pop://` and `pop3://` mean STLS, which must succeed, `pops://` and `pop3s://` TLS from the first byte; so does port 995
 * (RFC 8314 §3.3). RFC 2384 is older than STLS and has no word for it: `?tls=none`, `?tls=starttls` and `?tls=implicit`
 * after the host and port are ours. Plaintext has to be asked for, by `?tls=none`.
 */
import { urlCharsMax } from './limits.ts';
import { domainToASCII } from 'node:url';
import { AppError } from '../errors.ts';
import type { TlsMode } from './settings.ts';

const IMPLICIT_TLS_PORT = 995;
const POP3_PORT = 110;
const TLS_MODES: readonly TlsMode[] = ['implicit', 'starttls', 'none'];

/** The mechanisms that RFC 2384 writes with a plus: they are commands of POP3 and no SASL mechanisms. */
const COMMAND_MECHANISMS: ReadonlySet<string> = new Set(['APOP', 'USER']);

export interface Pop3Url {
  /** In ASCII; an IPv6 address without brackets. */
  host: string;
  port: number;
  tls: TlsMode;
  username?: string;
  password?: string;
  /** A SASL mechanism, `APOP` or `USER`, in upper case; absent where any will do, as `;AUTH=*` says. */
  mechanism?: string;
}

// The user information ends at the last @: people write their address as the user name, with the @ in it.
const URL_FORM =
  /^(?<scheme>pop3?s?):\/\/(?:(?<user>[^/?#]*)@)?(?<host>\[[^\]/?#@]*\]|[^:/?#@[\]]+)(?::(?<port>\d{0,5}))?\/?(?:\?(?<query>[^#]*))?$/i;
const AUTH_PARAMETER = /;AUTH=(?<mechanism>[^:;]*)(?=:|$)/i;
const MECHANISM = /^\+?[A-Z\d_-]{1,20}$/;

/** @throws AppError `invalid_request`, which quotes nothing of the text: it may hold a password. */
export function parsePop3Url(text: string): Pop3Url {
  const groups = text.length <= urlCharsMax ? URL_FORM.exec(text.trim())?.groups : undefined;
  if (!groups) {
    throw invalid(
      'it is not of the form pops://USER@HOST:PORT; in a user name or password, / ? # : ; and % are percent-encoded',
    );
  }
  const { scheme = '', user, host = '', port = '', query = '' } = groups;
  return { host: parseHost(host), ...parseService(scheme, port, query), ...(user !== undefined && parseUser(user)) };
}

/** The URL for the settings. It never holds a password. */
export function formatPop3Url({ host, port, tls, username, mechanism }: Omit<Pop3Url, 'password'>): string {
  const scheme = tls === 'implicit' ? 'pops' : 'pop';
  const standardPort = tls === 'implicit' ? IMPLICIT_TLS_PORT : POP3_PORT;
  const authority = `${host.includes(':') ? `[${host}]` : host}${port === standardPort ? '' : `:${port}`}`;
  const query = defaultTls(scheme, port) === tls ? '' : `?tls=${tls}`;
  return `${scheme}://${formatUser(username, mechanism)}${authority}${query}`;
}

function parseHost(written: string): string {
  const host = domainToASCII(written);
  if (!/^(?:[a-z\d._-]+|\[[a-f\d:]+\])$/.test(host)) throw invalid('its host is neither a name nor an address');
  return host.replace(/^\[|\]$/g, '');
}

function parseService(scheme: string, portText: string, query: string): Pick<Pop3Url, 'port' | 'tls'> {
  const asked = parseTls(query);
  const impliesTls = /s$/i.test(scheme);
  if (impliesTls && asked !== undefined && asked !== 'implicit') {
    throw invalid(`its scheme means TLS from the first byte, and ?tls=${asked} says otherwise`);
  }
  const standardPort = impliesTls || asked === 'implicit' ? IMPLICIT_TLS_PORT : POP3_PORT;
  const port = portText === '' ? standardPort : Number(portText);
  if (port < 1 || port > 65_535) throw invalid('its port is not within 1 to 65535');
  return { port, tls: asked ?? defaultTls(scheme, port) };
}

function defaultTls(scheme: string, port: number): TlsMode {
  return /s$/i.test(scheme) || port === IMPLICIT_TLS_PORT ? 'implicit' : 'starttls';
}

function parseTls(query: string): TlsMode | undefined {
  const tls = TLS_MODES.find((mode) => query.toLowerCase() === `tls=${mode}`);
  if (query !== '' && tls === undefined) {
    throw invalid('what follows its question mark is none of tls=implicit, tls=starttls and tls=none');
  }
  return tls;
}

/** `user;AUTH=mechanism`, with a password as people write it: `user:password`, the parameter before or behind it. */
function parseUser(text: string): Pick<Pop3Url, 'username' | 'password' | 'mechanism'> {
  const parameter = AUTH_PARAMETER.exec(text);
  const mechanism = parseMechanism(parameter?.groups?.['mechanism']);
  const [, username = '', password] = /^([^:]*)(?::([\s\S]*))?$/.exec(text.replace(AUTH_PARAMETER, '')) ?? [];
  if (username === '' && password !== undefined) throw invalid('it has a password and no user name');
  return {
    ...(username !== '' && { username: decode(username) }),
    ...(password !== undefined && { password: decode(password) }),
    ...(mechanism !== undefined && { mechanism }),
  };
}

function parseMechanism(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const mechanism = decode(text).toUpperCase();
  if (mechanism === '*') return undefined;
  if (!MECHANISM.test(mechanism)) throw invalid('its AUTH is neither * nor the name of a mechanism');
  return mechanism.replace(/^\+/, '');
}

function formatUser(username: string | undefined, mechanism: string | undefined): string {
  if (username === undefined && mechanism === undefined) return '';
  const plus = mechanism !== undefined && COMMAND_MECHANISMS.has(mechanism) ? '+' : '';
  const auth = mechanism === undefined ? '' : `;AUTH=${plus}${mechanism}`;
  return `${encodeURIComponent(username ?? '')}${auth}@`;
}

function decode(text: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    throw invalid('its percent-encoding is malformed');
  }
  if (/[\r\n\0]/.test(decoded)) throw invalid('its user name or password holds a CR, LF or NUL');
  return decoded;
}

function invalid(why: string): AppError {
  return new AppError('invalid_request', `The POP3 URL cannot be used: ${why}.`);
}
