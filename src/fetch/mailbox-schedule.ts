/** When stored mailboxes are fetched: what their owners say, and what their fetches find, as times in the due index. */
import type { Mailbox, MailboxRef } from '../mailbox/mailbox.ts';
import type { ScheduleSettings } from '../mailbox/policies.ts';
import { providerLoginGapMs } from '../mailbox/providers.ts';
import type { DueIndex } from './due-index.ts';
import type { NextFetch } from './mailbox-outcome.ts';
import type { ServerFindings } from './mailbox-warnings.ts';
import { firstDue, nextDue, parseSchedule } from './schedule.ts';

export interface MailboxSchedule {
  /** @throws AppError `invalid_request`. */
  check(schedule: ScheduleSettings): void;
  /** Of a mailbox that is new or was changed: fetches it by its schedule, or not at all where it has none, or is paused. */
  plan(mailbox: Mailbox): Promise<void>;
  /** After a fetch, by what the server wants, and its provider is known to want. */
  planNext(
    mailbox: Mailbox,
    retryMs: NextFetch['retryMs'],
    server: Pick<ServerFindings, 'loginGapMs' | 'expireDays'>,
  ): Promise<void>;
  /** Not at all any more. */
  forget(ref: MailboxRef): Promise<void>;
  /** Epoch milliseconds; null where nothing but a request makes it be fetched. */
  nextDue(ref: MailboxRef): Promise<number | null>;
}

export interface MailboxSchedulePorts {
  due: Pick<DueIndex, 'put' | 'remove' | 'nextDue'>;
  clock: { now(): number };
}

export function createMailboxSchedule({ due, clock }: MailboxSchedulePorts): MailboxSchedule {
  return {
    check: (schedule) => void parseSchedule(schedule),
    async plan(mailbox) {
      const { schedule, source } = mailbox.settings;
      if (schedule === null || !isFetched(mailbox)) return due.remove(mailbox);
      const dueMs = firstDue(parseSchedule(schedule), mailbox.mailbox, clock.now());
      // A change of the schedule does not make the provider forget the last login.
      const gapMs = providerLoginGapMs(source.host);
      const { lastFetch } = mailbox.status;
      await due.put(mailbox, lastFetch === null ? dueMs : Math.max(dueMs, Date.parse(lastFetch.endedAt) + gapMs));
    },
    async planNext(mailbox, retryMs, { loginGapMs, expireDays }) {
      const { schedule, source } = mailbox.settings;
      if (schedule === null || retryMs === null || !isFetched(mailbox)) return due.remove(mailbox);
      const nowMs = clock.now();
      const loginGapsMs = [loginGapMs, providerLoginGapMs(source.host)];
      if (retryMs !== 'schedule') return due.put(mailbox, nowMs + Math.max(retryMs, ...loginGapsMs));
      const { quietFetches } = mailbox.status;
      const facts = { quietFetches, lastLoginMs: nowMs, loginGapsMs, expireDays };
      await due.put(mailbox, nextDue(parseSchedule(schedule), mailbox.mailbox, nowMs, facts));
    },
    forget: (ref) => due.remove(ref),
    nextDue: (ref) => due.nextDue(ref),
  };
}

/** Whether a schedule counts. */
export function isFetched({ settings, status }: Mailbox): boolean {
  return !settings.isPaused && status.state !== 'needs_credentials';
}
