/** The one table that says what a failure means for the job: try again, and when, or give up. */
import type { FailureCode } from '../errors.ts';
import { brokenSessionsMax, lockedWaitMs, storageAttemptsMax, tokenAttemptsMax, tokenPauseMsMax } from './limits.ts';

export interface AttemptFacts {
  /** Attempts that have ended, this one included. */
  attempts: number;
  /** The latest attempts in a row that settled no message: stored none, and found out about none that it cannot be. */
  fruitless: number;
  /** Milliseconds since the fetch was created. */
  ageMs: number;
  /** The session had begun to retrieve: the settings are right, and something was lost midway. */
  hadBegun: boolean;
  /** How long the server (LOGIN-DELAY of RFC 2449 §6.5) or the token endpoint (Retry-After) wants to be left alone; null where it says nothing. */
  retryAfterMs: number | null;
}

/** Milliseconds until the next attempt, null to give up. */
type Rule = (facts: AttemptFacts) => number | null;

const never: Rule = () => null;

/** A caller who waits for the outcome wants to hear at once that a host is unknown: only what had begun well is retried. */
const whenBegun: Rule = ({ fruitless, hadBegun }) =>
  hadBegun && fruitless < brokenSessionsMax ? 1000 * (1 + fruitless) : null;

const RULES: Readonly<Record<FailureCode, Rule>> = {
  upstream_auth_failed: never,
  upstream_locked: ({ attempts, ageMs, retryAfterMs }) => {
    const pauseMs = Math.max(Math.min(5_000 * attempts, 60_000), retryAfterMs ?? 0);
    return ageMs + (retryAfterMs ?? 0) < lockedWaitMs ? pauseMs : null;
  },
  upstream_unavailable: whenBegun,
  upstream_unreachable: whenBegun,
  upstream_timeout: whenBegun,
  upstream_tls_failed: never,
  upstream_not_pop3: never,
  upstream_protocol_error: whenBegun,
  upstream_command_failed: never,
  upstream_closed: whenBegun,
  egress_blocked: never,
  message_too_large: whenBegun,
  cancelled: never,
  lease_lost: () => 1000,
  storage_failed: ({ fruitless }) => (fruitless < storageAttemptsMax ? 2_000 * 2 ** fruitless : null),
  // Room comes with time or by the owner's hand, and neither is a matter of seconds.
  quota_exceeded: never,
  credentials_unavailable: never,
  oauth2_consent_gone: never,
  oauth2_refused: never,
  oauth2_token_expired: never,
  // Nothing was asked of the mail server yet: a short outage is waited for, and a longer one left to the next fetch.
  oauth2_unavailable: ({ fruitless, retryAfterMs }) => {
    const pauseMs = Math.max(2_000 * 2 ** fruitless, retryAfterMs ?? 0);
    return fruitless < tokenAttemptsMax && pauseMs <= tokenPauseMsMax ? pauseMs : null;
  },
  internal_error: never,
};

/** Milliseconds until the next attempt, or null when this one was the last. */
export function nextAttempt(code: FailureCode, facts: AttemptFacts): number | null {
  return RULES[code](facts);
}
