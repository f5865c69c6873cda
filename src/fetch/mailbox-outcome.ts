/** What the end of a fetch means for its mailbox: how it stands, and when it is to be tried again. Pure. */
import type { FailureCode } from '../errors.ts';
import type { MailboxStatus } from '../mailbox/mailbox.ts';
import type { AttemptEnd } from './fetch-store.ts';
import { blockedRetryMs, mailboxRetryMs, mailboxRetryMsMax, refusalsMax } from './limits.ts';

export interface FetchOutcome {
  fetchId: string;
  end: AttemptEnd;
  /** Messages that are new here. */
  retrieved: number;
  /** Something was left for the next fetch. */
  isLimited: boolean;
}

/** `retryMs`: milliseconds until the next fetch; `schedule` where its schedule says; null where it waits for its owner. */
export interface NextFetch {
  status: MailboxStatus;
  retryMs: number | 'schedule' | null;
}

/** An account that refuses the password is left alone before it is locked. */
const REFUSALS: ReadonlySet<FailureCode> = new Set(['upstream_auth_failed']);
/** What no further try can mend: the grant itself is refused, or over. */
const DEAD_GRANTS: ReadonlySet<FailureCode> = new Set([
  'oauth2_consent_gone',
  'oauth2_refused',
  'oauth2_token_expired',
]);

export function settleMailbox(status: MailboxStatus, outcome: FetchOutcome, now: string): NextFetch {
  const { fetchId, end, retrieved, isLimited } = outcome;
  const lastFetch = { id: fetchId, state: end.state, endedAt: end.endedAt ?? now };
  if (end.error === null) {
    if (end.state !== 'succeeded') return { status: { ...status, lastFetch }, retryMs: 'schedule' };
    const quietFetches = retrieved > 0 ? 0 : status.quietFetches + 1;
    const well = { failure: null, failures: 0, refusals: 0, lastFetch, lastSuccessAt: lastFetch.endedAt, quietFetches };
    // What a limit has cut goes on at once.
    return {
      status: { ...enter(status, 'ok', lastFetch), ...well },
      retryMs: isLimited && retrieved > 0 ? 0 : 'schedule',
    };
  }

  const { code, detail, phase } = end.error;
  const refusals = REFUSALS.has(code) ? status.refusals + 1 : status.refusals;
  const failed = { failure: { code, detail, phase }, failures: status.failures + 1, refusals, lastFetch };
  if (refusals >= refusalsMax || DEAD_GRANTS.has(code))
    return { status: { ...enter(status, 'needs_credentials', lastFetch), ...failed }, retryMs: null };
  if (code === 'egress_blocked') {
    return { status: { ...enter(status, 'blocked', lastFetch), ...failed }, retryMs: blockedRetryMs };
  }
  const retryMs = Math.min(mailboxRetryMs * 2 ** Math.min(status.failures, 20), mailboxRetryMsMax);
  return { status: { ...enter(status, 'retrying', lastFetch), ...failed }, retryMs };
}

/** `since` says when it came to the state that it is in: when the fetch ended that has brought it there. */
function enter(status: MailboxStatus, state: MailboxStatus['state'], { endedAt }: { endedAt: string }): MailboxStatus {
  return status.state === state ? status : { ...status, state, since: endedAt };
}
