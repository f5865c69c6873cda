/** `POST /v1/mailboxes/verify`: settings are tried from this very process, as somebody waits for the answer. */
import type { components } from '../contract.gen.ts';
import type { Verification, VerificationRequest } from '../fetch/verification.ts';
import { verificationsAtOnceMax } from './limits.ts';
import { createRoom } from './room.ts';
import type { Handlers } from './route.ts';
import { readCredentials, toSource } from './mailboxes.ts';

export interface VerificationHandlerPorts {
  verify(tenant: string, request: VerificationRequest, signal: AbortSignal): Promise<Verification>;
  /** The largest message that the service retrieves, in bytes. */
  messageBytesMax: number;
  /** Aborted when the process stops. */
  shutdown: AbortSignal;
}

export function verificationHandlers(ports: VerificationHandlerPorts): Pick<Handlers, 'verifyMailbox'> {
  const inRoom = createRoom(verificationsAtOnceMax, 'mailboxes', 'tried');
  return {
    async verifyMailbox({ body, principal, signal }) {
      const { source, firstFetch, limits, filter } = body;
      const request: VerificationRequest = {
        source: { ...toSource(source), credentials: readCredentials(source) },
        firstFetch,
        filter,
        limits: {
          ...limits,
          messageBytes: Math.min(limits.messageBytes ?? ports.messageBytesMax, ports.messageBytesMax),
        },
      };
      const whileWanted = AbortSignal.any([signal, ports.shutdown]);
      const verification = await inRoom(() => ports.verify(principal.tenant, request, whileWanted));
      return { status: 200, body: toBody(verification) };
    },
  };
}

function toBody(found: Verification): components['schemas']['Verification'] {
  const { failure, tls, capabilities, maildrop, wouldFetch, warnings, ms } = found;
  return {
    ok: found.isOk,
    failure: failure && {
      code: failure.code,
      detail: failure.detail,
      phase: failure.phase,
      retryable: failure.isRetryable,
      hint: failure.hint,
    },
    tls: tls && describeTls(tls),
    capabilities: capabilities && describeCapabilities(capabilities),
    maildrop,
    wouldFetch,
    warnings,
    ms,
  };
}

function describeTls({ protocol, cipher, certificate }: NonNullable<Verification['tls']>) {
  const { subject, issuer, names, validFrom, validTo, sha256 } = certificate;
  return { protocol, cipher, certificate: { subject, issuer, names, validFrom, validTo, sha256 } };
}

function describeCapabilities(capabilities: NonNullable<Verification['capabilities']>) {
  const days = capabilities.expire?.days ?? null;
  return {
    names: [...capabilities.entries.keys()],
    sasl: [...capabilities.sasl],
    loginDelaySeconds: capabilities.loginDelay?.seconds ?? null,
    expireDays: days === null || !Number.isFinite(days) ? null : days,
    implementation: capabilities.implementation,
  };
}
