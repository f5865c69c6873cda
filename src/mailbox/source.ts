/** Where a maildrop is, and what is to be trusted there. */
import { X509Certificate } from 'node:crypto';
import { AppError } from '../errors.ts';
import { mailboxId } from '../identity.ts';
import type { GrantFacts } from './oauth2/grant.ts';

/** What a lease is for: several mailboxes may point at one maildrop, and one may be changed to point at another. */
export function maildropOf(tenant: string, source: { host: string; port: number; username: string }): string {
  return mailboxId(tenant, source);
}

/** As the contract has it; `pop3` has the same. */
export type TlsMode = 'implicit' | 'starttls' | 'none';

/** Found out when it is given rather than by a worker: OpenSSL ignores what it cannot read, and would trust nobody. */
export function hasCertificates(pem: string): boolean {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.map((block) => new X509Certificate(block)).length > 0;
  } catch {
    return false;
  }
}

/** Of `source.ca`. */
export function unreadableCertificates(): AppError {
  return invalidSource('/source/ca', 'holds no certificate that can be read');
}

/** @throws AppError `invalid_request`; `egress_blocked`, or what the check of the endpoint throws. */
export function checkGrant({ endpoint }: GrantFacts, tls: TlsMode, checkEndpoint: (url: string) => unknown): void {
  // RFC 6750 section 5.3: whoever reads a bearer token has it.
  if (tls === 'none') throw invalidSource('/source/tls', 'must be `implicit` or `starttls` with oauth2');
  if (endpoint !== null) checkEndpoint(endpoint);
}

export function invalidSource(pointer: string, detail: string): AppError {
  return new AppError('invalid_request', `The request is not valid: body${pointer} ${detail}.`, {
    fields: { errors: [{ in: 'body', pointer, detail }] },
  });
}
