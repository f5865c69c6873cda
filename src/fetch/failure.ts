/** What was thrown in an attempt, as the record of the fetch has it: code, bounded text, phase, and when it is tried again. Pure. */
import { AppError, isFailureCode, isRetryable, type FailureCode } from '../errors.ts';
import { OAuth2Error } from '../mailbox/oauth2/oauth2-error.ts';
import { Pop3ConnectionError, Pop3Error } from '../pop3/index.ts';
import type { AttemptEnd } from './fetch-store.ts';
import type { Failure, Fetch } from './fetch.ts';
import { detailCharsMax } from './limits.ts';

export interface FailurePorts {
  clock: { now(): number };
  /** True for errors that say that Redis is away. */
  isStorageAway(error: unknown): boolean;
}

export function silence({ source }: Pick<Fetch, 'source'>): Pop3ConnectionError {
  const text =
    `The latest connections to ${source.host} port ${source.port} have all timed out. ` +
    'It is left alone, and tried from time to time. Are host and port right, and is the server up?';
  return new Pop3ConnectionError('upstream_timeout', 'connect', text);
}

export function describeEnd(ports: FailurePorts, thrown: Error, code: FailureCode, delayMs: number | null): AttemptEnd {
  if (code === 'cancelled') return { state: 'cancelled', error: null, endedAt: now(ports) };
  const error = describeFailure(ports, thrown, code, delayMs);
  return delayMs === null ? { state: 'failed', error, endedAt: now(ports) } : { state: 'queued', error, endedAt: null };
}

export function describeFailure(
  ports: FailurePorts,
  thrown: Error,
  code: FailureCode,
  delayMs: number | null,
): Failure {
  return {
    code,
    detail: detailOf(thrown, code).slice(0, detailCharsMax),
    phase: thrown instanceof Pop3Error || thrown instanceof OAuth2Error ? thrown.phase : null,
    retryable: isRetryable(code),
    nextAttemptAt: delayMs === null ? null : new Date(ports.clock.now() + delayMs).toISOString(),
  };
}

/**
 * Nobody is there, for all that can be told: what holds a worker up, and is nobody's settings' fault but the host's and the
 * port's. A host that answers too late at a later step, or refuses, has answered.
 */
export function isSilence({ code, phase }: Pop3Error): boolean {
  return code === 'upstream_timeout' && (phase === 'resolve' || phase === 'connect');
}

/** Texts of errors that are not ours may hold anything: they go to the log only. */
function detailOf(thrown: Error, code: FailureCode): string {
  if (thrown instanceof AppError) return thrown.message;
  return code === 'storage_failed'
    ? 'Redis is away, or refuses writes. Nothing was deleted upstream.'
    : 'A fault of popbridge itself. Its log says more.';
}

export function codeOf(ports: FailurePorts, thrown: unknown): FailureCode {
  if (ports.isStorageAway(thrown)) return 'storage_failed';
  return thrown instanceof AppError && isFailureCode(thrown.code) ? thrown.code : 'internal_error';
}

export function now({ clock }: Pick<FailurePorts, 'clock'>): string {
  return new Date(clock.now()).toISOString();
}
