/** TLS on a connected socket (RFC 8314): never without verification, be it by authority, by pin, or by both. */
import { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { toError } from '../../errors.ts';
import { Pop3ConnectionError } from '../errors.ts';
import {
  describe,
  readTlsOptions,
  toAsciiHost,
  type Endpoint,
  type TlsOptions,
  type TransportOptions,
} from './endpoint.ts';
import { matchesPin, parsePin, readCertificate } from './certificate.ts';
import { explainTlsFailure, wrongPin } from './tls-errors.ts';
import { discard, ignore, seconds, timedOut, untilEvent, withDeadline, type Cutoff } from './waits.ts';

/** Who is expected at the other end of a socket. */
export interface TlsPeer {
  host: string;
  /** For messages. */
  place: string;
  options: TlsOptions;
}

/**
 * A TLS handshake on a connected socket. The certificate is verified against the host name of the endpoint, or its pins.
 * A TLS 1.3 server refuses a client certificate only after that: see readTlsAlert.
 * @throws Pop3ConnectionError, AppError `invalid_request` (a pin that is none), or the reason of the signal.
 */
export async function startTls(
  socket: Socket,
  endpoint: Endpoint,
  { timeouts, signal }: TransportOptions,
): Promise<TLSSocket> {
  const place = describe(endpoint);
  const expired = (): Error => timedOut('tls', `The TLS handshake with ${place} took over ${seconds(timeouts.tlsMs)}.`);
  try {
    const peer: TlsPeer = { host: endpoint.host, place, options: readTlsOptions(endpoint) };
    const deadline = { timeoutMs: timeouts.tlsMs, signal, expired };
    return await withDeadline(deadline, (cutoff) => secure(socket, peer, cutoff), discard);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** @throws as startTls does. */
export async function secure(socket: Socket, peer: TlsPeer, cutoff: Cutoff): Promise<TLSSocket> {
  const { ca, cert, key, passphrase, minVersion = 'TLSv1.2', servername, pins = [] } = peer.options;
  for (const pin of pins) parsePin(pin); // One that nothing can match is refused before the handshake.
  // Node would take this in silence, and show no certificate.
  if ((cert === undefined) !== (key === undefined)) throw badSettings('of "cert" and "key", one is missing');
  const name = toAsciiHost(servername ?? peer.host).replace(/\.$/, '');
  const pinned = pins.length > 0;
  const options: ConnectionOptions = {
    socket,
    host: name,
    ...(isIP(name) === 0 && { servername: name }), // RFC 6066 §3: no SNI for addresses, nor with a final dot.
    // Said aloud, so that NODE_TLS_REJECT_UNAUTHORIZED=0 cannot undo it. A pin is checked below, whatever this says.
    rejectUnauthorized: !pinned || ca !== undefined,
    minVersion,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(passphrase !== undefined && { passphrase }),
  };
  let secured: TLSSocket;
  try {
    secured = connect(options);
  } catch (error) {
    throw badSettings(toError(error).message, error);
  }
  secured.on('error', ignore); // It stays, as in tcp.ts.
  try {
    await untilEvent(secured, 'secureConnect', cutoff);
  } catch (error) {
    if (cutoff.reason) throw error;
    // Node takes such a one in silence, and trusts nobody. Asked only now, as reading it costs as much as a handshake saves.
    if (ca !== undefined && !isCertificate(ca)) throw badSettings('"ca" is no PEM certificate', error);
    throw explainTlsFailure(toError(error), peer);
  }
  if (pinned) requirePin(secured, peer, pins);
  return secured;
}

/** Nothing has been sent or read yet but the handshake, in which the server has proved that it has the key. */
function requirePin(secured: TLSSocket, peer: TlsPeer, pins: readonly string[]): void {
  const certificate = readCertificate(secured);
  if (certificate && matchesPin(certificate, pins)) return;
  secured.destroy();
  throw wrongPin(peer, certificate);
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function badSettings(why: string, cause?: unknown): Pop3ConnectionError {
  const message = `TLS cannot be set up: ${why}. Check "ca", "cert", "key" and "passphrase".`;
  return new Pop3ConnectionError('upstream_tls_failed', 'tls', message, { cause, fields: { tls: 'bad_settings' } });
}
