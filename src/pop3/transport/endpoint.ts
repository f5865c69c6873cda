/** Where a session goes, and with which settings: the vocabulary of the transport. */
import { hostBytesMax } from '../limits.ts';
import { domainToASCII } from 'node:url';
import { Pop3ConnectionError } from '../errors.ts';
import type { Pop3Timeouts } from '../limits.ts';

export interface ResolvedAddress {
  /** An IP literal. */
  address: string;
  family: 4 | 6;
}

/** Gives the addresses that may be connected to, the best first, or throws. Called for IP literals too; IDN come in their ASCII form. */
export type AddressResolver = (host: string, port: number) => Promise<readonly ResolvedAddress[]>;

export interface TlsOptions {
  /** PEM certificates that are trusted instead of the public authorities. */
  ca?: string;
  /** PEM: the client certificate, its chain behind it, and its key. */
  cert?: string;
  key?: string;
  /** Of the key, where it is encrypted. */
  passphrase?: string;
  /**
   * SHA-256 of the server's certificate, or of its public key (the DER of its SubjectPublicKeyInfo, as in RFC 7469 and
   * curl): `sha256/BASE64`, `sha256//BASE64`, or 64 hex digits with or without colons. One of them must match.
   *
   * A pin is a trust of its own, as mpop's tls_fingerprint: authorities, names and dates are not asked. Where `ca` is
   * given beside it, both must hold.
   */
  pins?: readonly string[];
  /** TLSv1.2 unless set. */
  minVersion?: 'TLSv1.2' | 'TLSv1.3';
  /** The name that is asked for (SNI) and that the certificate is verified against, instead of the host. */
  servername?: string;
}

export interface Endpoint {
  /** A name, IDN too, or an IP literal. */
  host: string;
  port: number;
  /** Short for `tlsOptions.ca`, which goes before it. */
  ca?: string;
  tlsOptions?: TlsOptions;
  /**
   * `socks5://`, `socks5h://`, `http://` or `https://`, with `user:password@` where the proxy wants them.
   *
   * Which addresses may be reached is the resolver hook's to say, also through a proxy: the proxy is asked for an address
   * that the hook gave. `socks5h` is the exception: it sends the name, the proxy resolves it, and the hook is not asked.
   * Without a hook, `http` and `https` send the name too.
   */
  proxy?: string;
}

export interface TransportOptions {
  timeouts: Readonly<Pop3Timeouts>;
  signal?: AbortSignal;
  resolve?: AddressResolver;
  /** The same for the proxy's own host. Without it that host is taken for trusted configuration and resolved by the system. */
  resolveProxy?: AddressResolver;
}

/** `host:port`, for people. */
export function describe({ host, port }: Pick<Endpoint, 'host' | 'port'>): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`;
}

export function readTlsOptions({ ca, tlsOptions }: Pick<Endpoint, 'ca' | 'tlsOptions'>): TlsOptions {
  return { ...(ca !== undefined && { ca }), ...tlsOptions };
}

/**
 * The host as DNS, SNI and certificates write it: IDN in their ASCII form (RFC 5891), IPv6 without brackets. Other names
 * and addresses stay as they are.
 * @throws Pop3ConnectionError
 */
export function toAsciiHost(host: string): string {
  const bare = /^\[(.*)\]$/.exec(host)?.[1] ?? host;
  const ascii = /[^\0-\x7f]/.test(bare) ? domainToASCII(bare) : bare;
  if (ascii.length <= hostBytesMax && /^[\w.:%-]+$/.test(ascii)) return ascii;
  const quoted = JSON.stringify(host.slice(0, hostBytesMax));
  throw new Pop3ConnectionError('upstream_unreachable', 'resolve', `${quoted} is no host name. Check its spelling.`);
}
