/**
 * Channel binding: what only the two ends of one TLS connection know, so that an attacker between two connections is
 * found out (RFC 5056). Read from what Node tells of a connection.
 */
import { createHash } from 'node:crypto';

export type BindingType = 'tls-exporter' | 'tls-unique' | 'tls-server-end-point';

export interface ChannelBinding {
  readonly type: BindingType;
  readonly data: Buffer;
}

/** As much of node:tls' TLSSocket as is needed. */
export interface BindingSource {
  getProtocol(): string | null;
  exportKeyingMaterial(bytes: number, label: string, context: Buffer): Buffer;
  isSessionReused(): boolean;
  getFinished(): Buffer | undefined;
  getPeerFinished(): Buffer | undefined;
  getPeerX509Certificate(): { raw: Buffer; signatureAlgorithm?: string | undefined } | undefined;
}

/**
 * The binding of a connection whose handshake is through, null where it has none of this type. The type is what RFC 9266 §2
 * (TLS 1.3) and RFC 5802 §6.1 (before it) make the default, unless given.
 */
export function readChannelBinding(source: BindingSource, type?: BindingType): ChannelBinding | null {
  const isTls13 = source.getProtocol() === 'TLSv1.3';
  const wanted = type ?? (isTls13 ? 'tls-exporter' : 'tls-unique');
  const data = readData(source, wanted, isTls13);
  return data && { type: wanted, data };
}

function readData(source: BindingSource, type: BindingType, isTls13: boolean): Buffer | null {
  switch (type) {
    case 'tls-exporter':
      // Under TLS 1.2 it is unique only with an extended master secret (RFC 9266 §4.2), and Node does not tell of that.
      return isTls13 ? source.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)) : null;
    case 'tls-unique':
      // The first Finished message: the client's, or the server's in a resumed session (RFC 5929 §3.1). None in TLS 1.3.
      if (isTls13) return null;
      return (source.isSessionReused() ? source.getPeerFinished() : source.getFinished()) ?? null;
    case 'tls-server-end-point':
      return hashCertificate(source.getPeerX509Certificate());
  }
}

/** RFC 5929 §4.1: by the hash of the certificate's signature. Undefined for Ed25519, and not named by Node for RSA-PSS. */
function hashCertificate(certificate: ReturnType<BindingSource['getPeerX509Certificate']>): Buffer | null {
  const hash = /(?:md5|sha(?:1|224|256|384|512))(?![0-9])/i.exec(certificate?.signatureAlgorithm ?? '')?.[0];
  if (!certificate || hash === undefined) return null;
  const name = hash.toLowerCase();
  return createHash(name === 'md5' || name === 'sha1' ? 'sha256' : name)
    .update(certificate.raw)
    .digest();
}
