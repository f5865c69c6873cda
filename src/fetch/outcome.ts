/** The one table that says what a failure means for the job: try again, and when, or give up. */
import type { FailureCode } from '../errors.ts';
import { brokenSessionsMax, lockedWaitMs, storageAttemptsMax } from './limits.ts';

export interface AttemptFacts {
  /** Attempts that have ended, this one included. */
  attempts: number;
  /** The latest attempts in a row that settled no message: stored none, and found out about none that it cannot be. */
  fruitless: number;
  /** Milliseconds since the fetch was created. */
  ageMs: number;
  /** The session had begun to retrieve: the settings are right, and something was lost midway. */
  hadBegun: boolean;
}

interface Rule {
  /** The same request may succeed later, unchanged. */
  retryable: boolean;
  /** Milliseconds until the next attempt, null to give up. Absent: never again. */
  again?: (facts: AttemptFacts) => number | null;
}

/** A caller who waits for the outcome wants to hear at once that a host is unknown: only what had begun well is retried. */
const whenBegun = ({ fruitless, hadBegun }: AttemptFacts): number | null =>
  hadBegun && fruitless < brokenSessionsMax ? 1000 * (1 + fruitless) : null;

const RULES: Readonly<Record<FailureCode, Rule>> = {
  upstream_auth_failed: { retryable: false },
  upstream_locked: {
    retryable: true,
    again: ({ attempts, ageMs }) => (ageMs < lockedWaitMs ? Math.min(5_000 * attempts, 60_000) : null),
  },
  upstream_unavailable: { retryable: true, again: whenBegun },
  upstream_unreachable: { retryable: true, again: whenBegun },
  upstream_timeout: { retryable: true, again: whenBegun },
  upstream_tls_failed: { retryable: false },
  upstream_not_pop3: { retryable: false },
  upstream_protocol_error: { retryable: false, again: whenBegun },
  upstream_command_failed: { retryable: false },
  upstream_closed: { retryable: true, again: whenBegun },
  egress_blocked: { retryable: false },
  message_too_large: { retryable: false, again: whenBegun },
  cancelled: { retryable: false },
  lease_lost: { retryable: true, again: () => 1000 },
  storage_failed: {
    retryable: true,
    again: ({ fruitless }) => (fruitless < storageAttemptsMax ? 2_000 * 2 ** fruitless : null),
  },
  credentials_unavailable: { retryable: false },
  internal_error: { retryable: false },
};

export function isRetryable(code: FailureCode): boolean {
  return RULES[code].retryable;
}

/** Milliseconds until the next attempt, or null when this one was the last. */
export function nextAttempt(code: FailureCode, facts: AttemptFacts): number | null {
  return RULES[code].again?.(facts) ?? null;
}
