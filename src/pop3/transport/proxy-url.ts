/** The URL of a proxy, as settings. */
import { credentialBytesMax } from '../limits.ts';
import { AppError } from '../../errors.ts';
import { describe, toAsciiHost } from './endpoint.ts';

const DEFAULT_PORTS = { socks5: 1080, socks5h: 1080, http: 80, https: 443 } as const;

export type ProxyScheme = keyof typeof DEFAULT_PORTS;

export interface ProxyServer {
  scheme: ProxyScheme;
  host: string;
  port: number;
  /** Null where the URL has none. */
  credentials: { username: string; password: string } | null;
  /** `socks5://host:port`, for people: without the credentials. */
  label: string;
}

/** @throws AppError `invalid_request`, which quotes nothing of the URL: it may hold a password. */
export function parseProxyUrl(text: string): ProxyServer {
  const url = URL.canParse(text) ? new URL(text) : null;
  const scheme = url?.protocol.slice(0, -1) ?? '';
  if (!url || !isScheme(scheme)) throw invalid('it is none of socks5://, socks5h://, http:// and https://');
  if (url.hostname === '') throw invalid('it has no host');
  if (!/^\/?$/.test(url.pathname) || url.search !== '' || url.hash !== '') {
    throw invalid('something follows its host and port; in a password, / ? # and @ are percent-encoded');
  }
  try {
    const host = toAsciiHost(decodeURIComponent(url.hostname));
    const port = url.port === '' ? DEFAULT_PORTS[scheme] : Number(url.port);
    if (port === 0) throw invalid('its port is 0');
    const credentials = { username: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
    checkCredentials(credentials);
    const label = `${scheme}://${describe({ host, port })}`;
    return { scheme, host, port, credentials: url.username === '' ? null : credentials, label };
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid_request') throw error;
    throw invalid('its host or its percent-encoding is malformed');
  }
}

function checkCredentials(credentials: { username: string; password: string }): void {
  const long = Object.values(credentials).some((value) => Buffer.byteLength(value) > credentialBytesMax);
  if (long) throw invalid(`its user name or password has more than ${credentialBytesMax} octets`);
  if (credentials.username.includes(':')) throw invalid('its user name has a colon, which no proxy can read');
}

function isScheme(scheme: string): scheme is ProxyScheme {
  return Object.hasOwn(DEFAULT_PORTS, scheme);
}

function invalid(why: string): AppError {
  return new AppError('invalid_request', `The proxy URL cannot be used: ${why}.`);
}
