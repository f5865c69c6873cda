import { expect, it } from 'vitest';
import { createMailboxSchedule, type MailboxSchedule } from '../../src/fetch/mailbox-schedule.ts';
import type { Mailbox } from '../../src/mailbox/mailbox.ts';

const NOW = Date.parse('2026-11-23T12:00:00.000Z');
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** Milliseconds from now until the mailbox is due. */
async function planned(
  host: string,
  plan: (schedule: MailboxSchedule, mailbox: Mailbox) => Promise<void>,
): Promise<number> {
  const puts: number[] = [];
  const schedule = createMailboxSchedule({
    due: {
      put: async (_mailbox, dueMs) => void puts.push(dueMs),
      remove: async () => undefined,
      nextDue: async () => null,
    },
    clock: { now: () => NOW },
  });
  const mailbox = {
    tenant: 't',
    mailbox: `mbx_${'1'.repeat(32)}`,
    settings: { schedule: { every: '1m' }, source: { host }, isPaused: false },
    status: { state: 'ok', quietFetches: 0, lastFetch: { endedAt: new Date(NOW).toISOString() } },
  } as unknown as Mailbox;
  await plan(schedule, mailbox);
  return (puts[0] ?? 0) - NOW;
}

const afterFetch = (host: string, retryMs: number | 'schedule', loginGapMs: number): Promise<number> =>
  planned(host, (schedule, mailbox) => schedule.planNext(mailbox, retryMs, { loginGapMs, expireDays: Infinity }));

it('keeps to what a provider is known to want between two logins, however often its owner wants a fetch', async () => {
  expect(await afterFetch('pop.example.com', 'schedule', 0)).toBeLessThanOrEqual(2 * MINUTE);
  expect(await afterFetch('pop3.web.de', 'schedule', 0)).toBeGreaterThanOrEqual(12 * MINUTE);
  expect(await afterFetch('POP3.WEB.DE.', MINUTE, 0)).toBe(12 * MINUTE);
});

it('takes the longer of what the provider and the server itself want', async () => {
  expect(await afterFetch('pop3.web.de', 'schedule', 30 * MINUTE)).toBeGreaterThanOrEqual(30 * MINUTE);
  expect(await afterFetch('pop3.web.de', MINUTE, 5 * MINUTE)).toBe(12 * MINUTE);
});

it('comes twice before the server deletes mail by itself', async () => {
  const expiring = (expireDays: number) => (schedule: MailboxSchedule, mailbox: Mailbox) => {
    const weekly = { ...mailbox, settings: { ...mailbox.settings, schedule: { cron: '0 8 1 1 *' } } };
    return schedule.planNext(weekly, 'schedule', { loginGapMs: 0, expireDays });
  };
  expect(await planned('pop.example.com', expiring(Infinity))).toBeGreaterThan(3 * DAY);
  expect(await planned('pop.example.com', expiring(4))).toBe(2 * DAY);
  // What was not retrieved stays there.
  expect(await planned('pop.example.com', expiring(0))).toBeGreaterThan(3 * DAY);
});

it('does not come sooner because the schedule was changed', async () => {
  expect(await planned('pop.example.com', (schedule, mailbox) => schedule.plan(mailbox))).toBeLessThanOrEqual(MINUTE);
  expect(await planned('pop3.web.de', (schedule, mailbox) => schedule.plan(mailbox))).toBe(12 * MINUTE);
});
