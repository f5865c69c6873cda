/** The certificate that a server showed, and SHA-256 pins of it or of its public key. */
import { createHash, X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { AppError } from '../../errors.ts';

const digestBytes = 32;

/**
 * Null where there is none, as after the socket's end. Not by getPeerX509Certificate: as of Node 24 that takes the
 * certificate out of the chain, and the next call gives undefined or the issuer's.
 */
export function readCertificate(socket: TLSSocket): X509Certificate | null {
  const { raw } = socket.getPeerCertificate() as { raw?: Buffer };
  return raw ? new X509Certificate(raw) : null;
}

/**
 * The digest that is written as `sha256/BASE64`, `sha256//BASE64` (curl), or 64 hex digits with or without colons.
 * @throws AppError `invalid_request`
 */
export function parsePin(pin: string): Buffer {
  const text = pin.trim();
  const base64 = /^sha256\/\/?([A-Za-z0-9+/_-]{43}=?)$/i.exec(text)?.[1];
  const hex = /^(?:sha256:)?((?:[0-9a-f]{2}:?){32})$/i.exec(text)?.[1];
  const digest =
    base64 === undefined ? Buffer.from(hex?.replaceAll(':', '') ?? '', 'hex') : Buffer.from(base64, 'base64');
  if (digest.length === digestBytes) return digest;
  throw new AppError(
    'invalid_request',
    'A pin is the SHA-256 of a certificate or public key: sha256/BASE64 or 64 hex digits.',
  );
}

export function matchesPin(certificate: X509Certificate, pins: readonly string[]): boolean {
  const digests = [digestCertificate(certificate), digestPublicKey(certificate)];
  return pins.map(parsePin).some((pin) => digests.some((digest) => digest.equals(pin)));
}

/** `sha256/BASE64` of both, as a pin is written. */
export function describePins(certificate: X509Certificate): { certificate: string; publicKey: string } {
  const write = (digest: Buffer): string => `sha256/${digest.toString('base64')}`;
  return { certificate: write(digestCertificate(certificate)), publicKey: write(digestPublicKey(certificate)) };
}

function digestCertificate(certificate: X509Certificate): Buffer {
  return createHash('sha256').update(certificate.raw).digest();
}

function digestPublicKey(certificate: X509Certificate): Buffer {
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
}
