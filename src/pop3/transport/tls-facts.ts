/** What a handshake came to, as a plain object that can be shown and stored. */
import { certificateTextCharsMax } from '../limits.ts';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { readTlsOptions, type Endpoint } from './endpoint.ts';
import { describePins, readCertificate } from './certificate.ts';

export interface TlsFacts {
  /** `TLSv1.2` or `TLSv1.3`. */
  protocol: string;
  /** By its IANA name, as `TLS_AES_256_GCM_SHA384`. */
  cipher: string;
  /** What the certificate was accepted for. */
  verifiedBy: 'authority' | 'pin' | 'authority and pin';
  certificate: {
    subject: string;
    issuer: string;
    /** As `DNS:pop.example.com, IP Address:192.0.2.1`; empty where there are none. */
    names: string;
    /** ISO 8601. */
    validFrom: string;
    validTo: string;
    /** Both as a pin is written: `sha256/BASE64`. */
    sha256: string;
    publicKeySha256: string;
  };
}

/** Null for a socket without TLS. The endpoint is the one that the socket was secured for. */
export function readTlsFacts(socket: Socket, endpoint: Endpoint): TlsFacts | null {
  const certificate = socket instanceof TLSSocket ? readCertificate(socket) : null;
  if (!(socket instanceof TLSSocket) || !certificate) return null;
  const { ca, pins = [] } = readTlsOptions(endpoint);
  const byAuthority = ca === undefined ? 'pin' : 'authority and pin';
  const pinned = describePins(certificate);
  return {
    protocol: socket.getProtocol() ?? '',
    cipher: socket.getCipher().standardName,
    verifiedBy: pins.length === 0 ? 'authority' : byAuthority,
    certificate: {
      subject: oneLine(certificate.subject),
      issuer: oneLine(certificate.issuer),
      names: oneLine(certificate.subjectAltName ?? ''),
      validFrom: isoDate(certificate.validFrom),
      validTo: isoDate(certificate.validTo),
      sha256: pinned.certificate,
      publicKeySha256: pinned.publicKey,
    },
  };
}

/** Node writes one attribute of a name per line. */
function oneLine(text = ''): string {
  return text.trim().replaceAll('\n', ', ').slice(0, certificateTextCharsMax);
}

function isoDate(text: string): string {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toISOString();
}
