/** What a failed handshake means, in words, and as the stable reason in `fields.tls` of the error. */
import type { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { Pop3ConnectionError } from '../errors.ts';
import { quoteServerText } from '../replies.ts';
import { describe, readTlsOptions, type Endpoint, type TlsOptions } from './endpoint.ts';
import { describePins } from './certificate.ts';

export type TlsFailure =
  | 'not_tls'
  | 'closed'
  | 'wrong_name'
  | 'unknown_name'
  | 'expired'
  | 'not_yet_valid'
  | 'revoked'
  | 'self_signed'
  | 'unknown_authority'
  | 'bad_certificate'
  | 'wrong_pin'
  | 'client_certificate_required'
  | 'client_certificate_refused'
  | 'protocol_too_old'
  | 'too_weak'
  | 'refused'
  | 'bad_settings'
  | 'failed';

/** Of the peer, what a message needs. */
interface Peer {
  place: string;
  options: TlsOptions;
}

interface Reason {
  /** Of the error code of Node or OpenSSL. */
  code: RegExp;
  failure: TlsFailure;
  explain: (place: string, options: TlsOptions) => string;
}

const TRUST = 'If the server is yours, give its certificate or its authority as "ca".';

/** An alert that is about the client's certificate. */
const CERTIFICATE_COMPLAINT =
  /ALERT_(?:(?:BAD_|UNSUPPORTED_)?CERTIFICATE(?:_REVOKED|_EXPIRED|_UNKNOWN)?|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)$/;

const REASONS: readonly Reason[] = [
  {
    code: /^CERT_HAS_EXPIRED$/,
    failure: 'expired',
    explain: (place) => `The certificate of ${place} has expired. Its operator must renew it.`,
  },
  {
    code: /^CERT_NOT_YET_VALID$/,
    failure: 'not_yet_valid',
    explain: (place) => `The certificate of ${place} is not valid yet. Is the clock right?`,
  },
  {
    code: /^CERT_REVOKED$/,
    failure: 'revoked',
    explain: (place) => `The certificate of ${place} has been revoked.`,
  },
  {
    code: /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN)$/,
    failure: 'self_signed',
    explain: (place) => `The certificate of ${place} is self-signed. ${TRUST}`,
  },
  {
    code: /^(UNABLE_TO_|CERT_UNTRUSTED)/,
    failure: 'unknown_authority',
    explain: (place) => `The certificate of ${place} is not from a known authority. ${TRUST}`,
  },
  {
    code: /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL|HTTP_REQUEST|RECORD_LAYER_FAILURE|BAD_RECORD_TYPE)$/,
    failure: 'not_tls',
    explain: (place) =>
      `${place} does not speak TLS from the first byte. Set tls to "starttls" (mostly port 110), or use the server's TLS port (mostly 995).`,
  },
  {
    code: /PROTOCOL_VERSION$|UNSUPPORTED_PROTOCOL$|VERSION_TOO_LOW$|NO_PROTOCOLS_AVAILABLE$/,
    failure: 'protocol_too_old',
    explain: (place, { minVersion = 'TLSv1.2' }) =>
      `${place} offers no TLS version of ${minVersion.slice('TLSv'.length)} or newer.`,
  },
  {
    code: /_TOO_(SMALL|WEAK)$|INSUFFICIENT_SECURITY$/,
    failure: 'too_weak',
    explain: (place) => `${place} uses a key or a signature that is too weak to be safe. Its operator must replace it.`,
  },
  {
    code: /CERTIFICATE_REQUIRED$/,
    failure: 'client_certificate_required',
    explain: (place) => `${place} wants a client certificate. Give one as "cert" and "key".`,
  },
  {
    code: CERTIFICATE_COMPLAINT,
    failure: 'client_certificate_refused',
    explain: (place) => `${place} does not accept the client certificate. Is it one that this server knows?`,
  },
  {
    code: /UNRECOGNIZED_NAME$/,
    failure: 'unknown_name',
    explain: (place) =>
      `${place} does not know the host name that it was asked for. Use the name that its operator gives.`,
  },
  {
    code: /HANDSHAKE_FAILURE$|NO_SHARED_CIPHER$/,
    failure: 'refused',
    explain: (place, { cert }) =>
      cert === undefined
        ? `${place} refused the TLS handshake: it wants a client certificate, or has no cipher in common with this client.`
        : `${place} refused the TLS handshake: it does not accept the client certificate, or has no cipher in common with this client.`,
  },
  {
    code: /^(CERT_|INVALID_|PATH_LENGTH_EXCEEDED|ERROR_IN_CERT_)/,
    failure: 'bad_certificate',
    explain: (place) =>
      `The certificate of ${place} or of its authority is not in order. Its operator must replace it.`,
  },
];

/** For what ended the handshake. */
export function explainTlsFailure(error: Error, { place, options }: Peer): Pop3ConnectionError {
  const code = codeOf(error);
  if (code === '' || code === 'ECONNRESET' || code === 'EPIPE') {
    const message = `${place} closed the connection in the TLS handshake.`;
    return new Pop3ConnectionError('upstream_closed', 'tls', message, { cause: error, fields: { tls: 'closed' } });
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return wrongName(place, error);
  // Before TLS 1.3 no alert said that a certificate is missing: servers take the next best.
  const plain = options.cert === undefined ? code.replace(CERTIFICATE_COMPLAINT, 'ALERT_CERTIFICATE_REQUIRED') : code;
  const reason = REASONS.find((reason) => reason.code.test(plain));
  if (!reason) return tlsFailed('failed', `The TLS handshake with ${place} failed (${code}).`, error);
  return tlsFailed(reason.failure, reason.explain(place, options), error);
}

/**
 * For an error of a socket after its handshake: a TLS 1.3 server judges the client's certificate when the client takes the
 * handshake for done (RFC 8446 §4.4.2.4). Null where the error is no alert.
 */
export function readTlsAlert(error: Error, endpoint: Endpoint): Pop3ConnectionError | null {
  if (!/^ERR_SSL_.*ALERT_/.test(codeOf(error))) return null;
  return explainTlsFailure(error, { place: describe(endpoint), options: readTlsOptions(endpoint) });
}

export function wrongPin({ place }: Peer, certificate: X509Certificate | null): Pop3ConnectionError {
  const found = certificate && describePins(certificate);
  const shown = found ? ` It is ${found.certificate}, its public key ${found.publicKey}.` : '';
  const advice = 'Ask the operator whether it has been replaced before you pin it.';
  return tlsFailed('wrong_pin', `The certificate of ${place} matches none of the pins.${shown} ${advice}`);
}

/** Node leaves the certificate in the error; the socket has none any more. */
function wrongName(place: string, error: Error & { cert?: Partial<PeerCertificate> }): Pop3ConnectionError {
  const names = error.cert?.subjectaltname ?? '';
  const shown = names === '' ? '' : ` (${quoteServerText(names, [])})`;
  const message = `The certificate of ${place} is for another name${shown}. Use the host name that it was issued for.`;
  return tlsFailed('wrong_name', message, error);
}

function tlsFailed(failure: TlsFailure, message: string, cause?: Error): Pop3ConnectionError {
  return new Pop3ConnectionError('upstream_tls_failed', 'tls', message, { cause, fields: { tls: failure } });
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : '';
}
