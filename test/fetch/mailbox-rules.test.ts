/** The pure rules of stored mailboxes: what is left aside at first, what is deleted, what is forgotten, and what a fetch's end means. */
import { describe, expect, test } from 'vitest';
import { countAbsent } from '../../src/fetch/absence.ts';
import { chooseDeletions } from '../../src/fetch/deletion.ts';
import { skipOlder } from '../../src/fetch/first-fetch.ts';
import type { LedgerEntry, StoredEntry } from '../../src/fetch/ledger.ts';
import {
  absentCountEverySeconds,
  absentListingsMin,
  absentSecondsMin,
  blockedRetryMs,
  mailboxRetryMs,
  mailboxRetryMsMax,
  refusalsMax,
} from '../../src/fetch/limits.ts';
import { NO_FINDINGS } from '../../src/fetch/mailbox-warnings.ts';
import { settleMailbox, type FetchOutcome } from '../../src/fetch/mailbox-outcome.ts';
import type { StoredMessage } from '../../src/fetch/plan.ts';
import type { FailureCode } from '../../src/errors.ts';
import { freshStatus, type MailboxStatus } from '../../src/mailbox/mailbox.ts';
import type { DeletePolicy } from '../../src/mailbox/policies.ts';

const NOW = 1_764_000_000;
const DAY = 24 * 3600;
const ENTRY: StoredEntry = {
  state: 'stored',
  at: NOW,
  bytes: 10,
  ownId: null,
  digest: '00'.repeat(12),
  keptUntil: NOW + 7 * DAY,
  isReleased: false,
  absent: null,
};

describe('what is deleted upstream', () => {
  const message = (number: number, over: Partial<StoredEntry> = {}): StoredMessage => ({
    number,
    bytes: 10,
    uidl: `u${number}`,
    key: `uidl:0:u${number}`,
    occurrence: 0,
    isSuspect: false,
    entry: { ...ENTRY, ...over },
  });
  const stored = [message(3), message(1, { at: NOW - 2 * DAY }), message(2, { isReleased: true })];

  test.each<[DeletePolicy, number[]]>([
    ['never', []],
    ['stored', [3, 1, 2]],
    ['acknowledged', [2]],
    [{ afterDays: 2 }, [1]],
    [{ afterDays: 3 }, []],
    [{ afterDays: 0 }, [3, 1, 2]],
    [{ keepLast: 0 }, [1, 2, 3]],
    [{ keepLast: 2 }, [1]],
    [{ keepLast: 5 }, []],
  ])('by %j', (policy, numbers) => {
    expect(chooseDeletions(policy, stored, NOW).map(({ number }) => number)).toEqual(numbers);
  });
});

describe('a first fetch', () => {
  const listing = ['a', 'b', null].map((uidl, at) => ({ number: at + 1, bytes: 10, uidl }));

  test('leaves aside what is not wanted, and cannot what has no unique-id', () => {
    expect([...skipOlder('all', listing, NOW).keys()]).toEqual([]);
    expect([...skipOlder('new_only', listing, NOW).keys()]).toEqual(['uidl:0:a', 'uidl:0:b']);
    expect([...skipOlder({ last: 2 }, listing, NOW).keys()]).toEqual(['uidl:0:a']);
    expect([...skipOlder({ last: 9 }, listing, NOW).keys()]).toEqual([]);
  });
});

describe('a unique-id that is missing from a complete listing', () => {
  const ledger = new Map<string, LedgerEntry>([
    ['uidl:0:a', ENTRY],
    ['digest:0:00', ENTRY],
  ]);
  const NONE = new Set<string>();

  test('is noted, and is there again when it is listed again', () => {
    const once = countAbsent(ledger, NONE, NOW);
    expect(once.get('uidl:0:a')?.absent).toEqual({ listings: 1, since: NOW });
    expect(once.get('digest:0:00')?.absent).toBeNull();
    expect(countAbsent(once, new Set(['uidl:0:a']), NOW + 1)).toEqual(ledger);
  });

  test('is forgotten when several listings an hour apart, and a week, agree; and not before', () => {
    let now = NOW;
    let known = countAbsent(ledger, NONE, now);
    for (let times = 0; times < 100; times += 1) known = countAbsent(known, NONE, (now += 60));
    expect(known.get('uidl:0:a')?.absent?.listings).toBe(2);
    known = countAbsent(known, NONE, NOW + absentSecondsMin - 1);
    expect(known.get('uidl:0:a')?.absent?.listings).toBe(absentListingsMin);
    expect([...countAbsent(known, NONE, NOW + absentSecondsMin).keys()]).toEqual(['digest:0:00']);
    // A week without listings is none that agrees.
    expect(countAbsent(countAbsent(ledger, NONE, NOW), NONE, NOW + absentSecondsMin).has('uidl:0:a')).toBe(true);
    expect(absentCountEverySeconds * absentListingsMin).toBeLessThan(absentSecondsMin);
  });

  test('changes nothing, not even the map, where there is nothing to note', () => {
    expect(countAbsent(ledger, new Set(['uidl:0:a']), NOW)).toBe(ledger);
    const noted = countAbsent(ledger, NONE, NOW);
    expect(countAbsent(noted, NONE, NOW + 60)).toBe(noted);
  });
});

describe('the end of a fetch', () => {
  const FRESH = freshStatus('2026-11-27T12:00:00.000Z');
  const AT = '2026-11-27T13:00:00.000Z';
  const outcome = (over: Partial<FetchOutcome> = {}): FetchOutcome => ({
    fetchId: 'fch_1',
    end: { state: 'succeeded', error: null, endedAt: AT },
    retrieved: 0,
    isLimited: false,
    server: NO_FINDINGS,
    ...over,
  });
  const failure = (code: FailureCode): FetchOutcome =>
    outcome({
      end: {
        state: 'failed',
        endedAt: AT,
        error: { code, detail: 'why', phase: 'login', retryable: true, nextAttemptAt: null },
      },
    });
  const settle = (status: MailboxStatus, ...outcomes: FetchOutcome[]) =>
    outcomes.reduce((next, one) => settleMailbox(next.status, one, AT), settleMailbox(status, outcome(), AT));

  test('that went well leaves it to the schedule, and counts fetches without new mail', () => {
    const quiet = settle(FRESH, outcome());
    expect(quiet).toMatchObject({ status: { state: 'ok', quietFetches: 2, lastSuccessAt: AT }, retryMs: 'schedule' });
    expect(settle(FRESH, outcome({ retrieved: 1 }))).toMatchObject({ status: { quietFetches: 0 } });
  });

  test('that went well says what is odd about the server, and one that failed leaves that as it was', () => {
    const server = { ...NO_FINDINGS, codes: ['unique_ids_changed'] as const };
    const warned = settle(FRESH, outcome({ server }));
    expect(warned.status.warnings).toEqual([{ code: 'unique_ids_changed', since: AT, at: AT }]);
    expect(settleMailbox(warned.status, failure('upstream_timeout'), AT).status.warnings).toHaveLength(1);
    expect(settle(FRESH, outcome()).status).not.toHaveProperty('warnings');
  });

  test('at a limit goes on at once, unless it got nowhere', () => {
    expect(settle(FRESH, outcome({ retrieved: 1, isLimited: true })).retryMs).toBe(0);
    expect(settle(FRESH, outcome({ isLimited: true })).retryMs).toBe('schedule');
  });

  test('that failed is tried again, later each time, and says since when', () => {
    const first = settle(FRESH, failure('upstream_unreachable'));
    expect(first).toMatchObject({
      status: { state: 'retrying', since: AT, failures: 1, failure: { code: 'upstream_unreachable' } },
      retryMs: mailboxRetryMs,
    });
    const later = settleMailbox(first.status, failure('upstream_timeout'), '2026-11-27T14:00:00.000Z');
    expect(later).toMatchObject({ status: { since: AT, failures: 2 }, retryMs: 2 * mailboxRetryMs });
    const many = Array.from({ length: 30 }, () => failure('upstream_timeout'));
    expect(settle(FRESH, ...many).retryMs).toBe(mailboxRetryMsMax);
    expect(settle(first.status, outcome())).toMatchObject({ status: { state: 'ok', failure: null, failures: 0 } });
  });

  test.each(['oauth2_consent_gone', 'oauth2_refused', 'oauth2_token_expired'] as const)(
    'whose grant is dead (%s) waits for another one at once',
    (code) => {
      const settled = settle(FRESH, failure(code));
      expect(settled).toMatchObject({ status: { state: 'needs_credentials', refusals: 0 }, retryMs: null });
    },
  );

  test('whose token endpoint is in trouble is tried again, however often, and that is no refusal', () => {
    const many = Array.from({ length: 30 }, () => failure('oauth2_unavailable'));
    expect(settle(FRESH, ...many)).toMatchObject({
      status: { state: 'retrying', refusals: 0 },
      retryMs: mailboxRetryMsMax,
    });
  });

  test('that was refused so often waits for other credentials; whatever failed in between, and not after a success', () => {
    const refusal = failure('upstream_auth_failed');
    const refused = Array.from({ length: refusalsMax }, () => refusal);
    expect(settle(FRESH, ...refused)).toMatchObject({ status: { state: 'needs_credentials' }, retryMs: null });
    expect(settle(FRESH, ...refused.slice(1), failure('upstream_timeout'), refusal).retryMs).toBeNull();
    expect(settle(FRESH, ...refused.slice(1), outcome(), refusal).status.state).toBe('retrying');
  });

  test('that the egress policy forbade is blocked, and looked at again in an hour', () => {
    expect(settle(FRESH, failure('egress_blocked'))).toMatchObject({
      status: { state: 'blocked' },
      retryMs: blockedRetryMs,
    });
  });

  test('that was cancelled says nothing of the mailbox', () => {
    const cancelled = outcome({ end: { state: 'cancelled', error: null, endedAt: AT } });
    const first = settle(FRESH, failure('upstream_timeout'));
    expect(settleMailbox(first.status, cancelled, AT)).toMatchObject({
      status: { state: 'retrying', failures: 1, lastFetch: { state: 'cancelled' } },
      retryMs: 'schedule',
    });
  });
});
