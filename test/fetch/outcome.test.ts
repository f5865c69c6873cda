import { describe, expect, test } from 'vitest';
import { FAILURE_CODES, isRetryable, type FailureCode } from '../../src/errors.ts';
import { brokenSessionsMax, lockedWaitMs, storageAttemptsMax } from '../../src/fetch/limits.ts';
import { nextAttempt } from '../../src/fetch/outcome.ts';

const S = 1_000;
const MIN = 60 * S;

/** Whether the same request may work later; and the pause after the attempts 1 to 6 of a young fetch
 * that settles nothing, null for none. */
type Row = [retryable: boolean, beforeRetrieving: (number | null)[], whileRetrieving: (number | null)[]];

const NEVER = [null, null, null, null, null, null];
const BROKEN = [1 * S, 2 * S, null, null, null, null];
const LOCKED = [5 * S, 10 * S, 15 * S, 20 * S, 25 * S, 30 * S];
const STORAGE = [2 * S, 4 * S, 8 * S, 16 * S, 32 * S, null];
const TOKEN = [2 * S, 4 * S, 8 * S, null, null, null];
const LEASE = [S, S, S, S, S, S];

const TABLE: Record<FailureCode, Row> = {
  upstream_auth_failed: [false, NEVER, NEVER],
  upstream_locked: [true, LOCKED, LOCKED],
  upstream_unavailable: [true, NEVER, BROKEN],
  upstream_unreachable: [true, NEVER, BROKEN],
  upstream_timeout: [true, NEVER, BROKEN],
  upstream_tls_failed: [false, NEVER, NEVER],
  upstream_not_pop3: [false, NEVER, NEVER],
  upstream_protocol_error: [false, NEVER, BROKEN],
  upstream_command_failed: [false, NEVER, NEVER],
  upstream_closed: [true, NEVER, BROKEN],
  egress_blocked: [false, NEVER, NEVER],
  message_too_large: [false, NEVER, BROKEN],
  cancelled: [false, NEVER, NEVER],
  lease_lost: [true, LEASE, LEASE],
  storage_failed: [true, STORAGE, STORAGE],
  quota_exceeded: [true, NEVER, NEVER],
  credentials_unavailable: [false, NEVER, NEVER],
  oauth2_consent_gone: [false, NEVER, NEVER],
  oauth2_refused: [false, NEVER, NEVER],
  oauth2_token_expired: [false, NEVER, NEVER],
  oauth2_unavailable: [true, TOKEN, TOKEN],
  internal_error: [false, NEVER, NEVER],
};

describe('what a failure means for the job', () => {
  test.each(Object.entries(TABLE) as [FailureCode, Row][])('%s', (code, [retryable, before, during]) => {
    const pauses = (hadBegun: boolean) =>
      [1, 2, 3, 4, 5, 6].map((attempts) =>
        nextAttempt(code, { attempts, fruitless: attempts - 1, ageMs: MIN, hadBegun, retryAfterMs: null }),
      );
    expect({ retryable: isRetryable(code), before: pauses(false), during: pauses(true) }).toEqual({
      retryable,
      before,
      during,
    });
  });

  test('is said for every code', () => {
    expect(Object.keys(TABLE).toSorted()).toEqual([...FAILURE_CODES].toSorted());
  });

  test('a maildrop that stays locked is waited for with growing pauses, and given up in the end', () => {
    const after = (attempts: number, ageMs: number) =>
      nextAttempt('upstream_locked', { attempts, fruitless: 0, ageMs, hadBegun: false, retryAfterMs: null });
    expect([after(12, MIN), after(13, MIN), after(1_000, MIN)]).toEqual([MIN, MIN, MIN]);
    expect([after(1, lockedWaitMs - 1), after(1, lockedWaitMs), after(1, 24 * 60 * MIN)]).toEqual([5 * S, null, null]);
  });

  test('a server that says how long it wants to be left alone is left alone for that long, or given up', () => {
    const after = (retryAfterMs: number) =>
      nextAttempt('upstream_locked', { attempts: 1, fruitless: 0, ageMs: MIN, hadBegun: false, retryAfterMs });
    expect([after(2 * S), after(90 * S), after(lockedWaitMs)]).toEqual([5 * S, 90 * S, null]);
  });

  test('nothing is tried for ever: each pause has an end, by attempts or by age', () => {
    for (const code of FAILURE_CODES.filter((code) => code !== 'lease_lost')) {
      for (const hadBegun of [false, true]) {
        const fruitless = Math.max(brokenSessionsMax, storageAttemptsMax);
        const facts = { attempts: 1, fruitless, ageMs: lockedWaitMs, hadBegun, retryAfterMs: null };
        expect(nextAttempt(code, facts)).toBeNull();
      }
    }
  });
});
