/**
 * Sockets: name resolution through the caller's hook, TCP, TLS. The only file of the client that imports node:net and
 * node:tls. What it gives out is connected and verified; what fails here leaves no socket behind.
 */
import { lookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { toError, type AppError } from '../errors.ts';
import { Pop3ConnectionError, type Pop3Phase } from './errors.ts';
import { connectAttemptMs, type Pop3Timeouts } from './limits.ts';

export interface ResolvedAddress {
  address: string;
  family: 4 | 6;
}

/** Gives the addresses that may be connected to, or throws. Called for IP literals too. */
export type AddressResolver = (host: string, port: number) => Promise<readonly ResolvedAddress[]>;

export interface Endpoint {
  host: string;
  port: number;
  /** PEM certificates that are trusted instead of the public authorities. */
  ca?: string;
}

export interface TransportOptions {
  timeouts: Readonly<Pop3Timeouts>;
  signal: AbortSignal;
  resolve?: AddressResolver;
}

/** @throws Pop3ConnectionError, or what the resolver hook threw. */
export async function openTcp(endpoint: Endpoint, { timeouts, signal, resolve }: TransportOptions): Promise<Socket> {
  const place = describe(endpoint);
  const addresses = await withDeadline((resolve ?? resolveBySystem)(endpoint.host, endpoint.port), {
    timeoutMs: timeouts.resolveMs,
    signal,
    expired: () =>
      timedOut('resolve', `The name ${endpoint.host} was not resolved within ${seconds(timeouts.resolveMs)}.`),
  });
  if (addresses.length === 0) throw unknownHost(endpoint.host);
  // The socket connects to these addresses and to no others: a second look-up could answer differently, and for an
  // address as the host Node would ask no look-up at all.
  const pinned: LookupFunction = (_host, _options, done) => done(null, [...addresses]);
  const socket = connectTcp({
    host: 'pinned.invalid',
    port: endpoint.port,
    lookup: pinned,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: connectAttemptMs,
    noDelay: true,
  });
  await untilEvent(socket, 'connect', {
    timeoutMs: timeouts.connectMs,
    signal,
    expired: () => timedOut('connect', `No connection to ${place} within ${seconds(timeouts.connectMs)}.`),
    failed: (error) =>
      new Pop3ConnectionError(
        'upstream_unreachable',
        'connect',
        `No connection to ${place}: ${explainSocketError(error)}. Check the host and the port.`,
        { cause: error },
      ),
  });
  return socket;
}

/** A TLS handshake on a connected socket; the certificate is verified against the host name of the endpoint. */
export async function startTls(
  socket: Socket,
  endpoint: Endpoint,
  { timeouts, signal }: TransportOptions,
): Promise<Socket> {
  const options: ConnectionOptions = {
    socket,
    host: endpoint.host,
    rejectUnauthorized: true, // Said aloud, so that NODE_TLS_REJECT_UNAUTHORIZED=0 cannot undo it.
    minVersion: 'TLSv1.2',
    ...(isIP(endpoint.host) === 0 && { servername: endpoint.host }),
    ...(endpoint.ca !== undefined && { ca: endpoint.ca }),
  };
  let secured: Socket;
  try {
    secured = connectTls(options);
  } catch (error) {
    socket.destroy();
    throw new Pop3ConnectionError('upstream_tls_failed', 'tls', `TLS cannot be set up: ${toError(error).message}.`, {
      cause: error,
    });
  }
  await untilEvent(secured, 'secureConnect', {
    timeoutMs: timeouts.tlsMs,
    signal,
    expired: () =>
      timedOut('tls', `The TLS handshake with ${describe(endpoint)} took over ${seconds(timeouts.tlsMs)}.`),
    failed: (error) => tlsError(error, endpoint),
  });
  return secured;
}

/** `host:port`, for people. */
export function describe(endpoint: Endpoint): string {
  return endpoint.host.includes(':') ? `[${endpoint.host}]:${endpoint.port}` : `${endpoint.host}:${endpoint.port}`;
}

interface DeadlineOptions {
  timeoutMs: number;
  signal: AbortSignal;
  expired: () => Error;
}

async function withDeadline<T>(work: Promise<T>, { timeoutMs, signal, expired }: DeadlineOptions): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(expired()), timeoutMs);
  const abort = (): void => reject(toError(signal.reason));
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

async function untilEvent(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  options: DeadlineOptions & { failed: (error: Error) => Error },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once(event, resolve);
  // They stay: an error of a socket that nobody listens to would end the process, at whatever time it comes.
  socket.on('error', (error) => reject(options.failed(error)));
  socket.on('close', () => reject(options.failed(new Error('the server closed the connection'))));
  try {
    await withDeadline(promise, options);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function resolveBySystem(host: string): Promise<ResolvedAddress[]> {
  try {
    const found = await lookup(host, { all: true, order: 'verbatim' });
    return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));
  } catch (error) {
    throw unknownHost(host, error);
  }
}

function unknownHost(host: string, cause?: unknown): Pop3ConnectionError {
  const message = `The host name ${host} cannot be resolved. Check its spelling.`;
  return new Pop3ConnectionError('upstream_unreachable', 'resolve', message, { cause });
}

function timedOut(phase: Pop3Phase, message: string): AppError {
  return new Pop3ConnectionError('upstream_timeout', phase, message);
}

function seconds(ms: number): string {
  return `${ms / 1000} s`;
}

function errorCode(error: Error): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return first instanceof Error && 'code' in first ? String(first.code) : '';
}

function explainSocketError(error: Error): string {
  switch (errorCode(error)) {
    case 'ECONNREFUSED':
      return 'the connection was refused';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'there is no route to it';
    case 'ECONNRESET':
      return 'the connection was reset';
    case 'ETIMEDOUT':
      return 'it does not answer';
    default:
      return errorCode(error) || 'the connection failed';
  }
}

const TRUST = 'If the server is yours, give its certificate or its authority as "ca".';

function tlsError(error: Error, endpoint: Endpoint): Pop3ConnectionError {
  const code = errorCode(error);
  if (code === '' || code === 'ECONNRESET' || code === 'EPIPE') {
    const text = `${describe(endpoint)} closed the connection in the TLS handshake.`;
    return new Pop3ConnectionError('upstream_closed', 'tls', text, { cause: error });
  }
  return new Pop3ConnectionError('upstream_tls_failed', 'tls', explainTlsError(code, endpoint), { cause: error });
}

function explainTlsError(code: string, endpoint: Endpoint): string {
  const place = describe(endpoint);
  switch (code) {
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_UNKNOWN_PROTOCOL':
    case 'ERR_SSL_HTTP_REQUEST':
      return `${place} does not speak TLS from the first byte. Set tls to "starttls" (mostly port 110), or use the server's TLS port (mostly 995).`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `The certificate of ${place} is for another name. Use the host name that it was issued for.`;
    case 'CERT_HAS_EXPIRED':
      return `The certificate of ${place} has expired.`;
    case 'CERT_NOT_YET_VALID':
      return `The certificate of ${place} is not valid yet. Is the clock right?`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return `The certificate of ${place} is self-signed. ${TRUST}`;
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return `The certificate of ${place} is not from a known authority. ${TRUST}`;
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
    case 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION':
      return `${place} offers no TLS version of 1.2 or newer.`;
    default:
      return `The TLS handshake with ${place} failed (${code}).`;
  }
}
