import { expect, it } from 'vitest';
import { createMailboxSchedule } from '../../src/fetch/mailbox-schedule.ts';
import type { Mailbox } from '../../src/mailbox/mailbox.ts';

const NOW = Date.parse('2026-11-23T12:00:00.000Z');
const MINUTE = 60_000;

async function planned(host: string, retryMs: number | 'schedule', loginGapMs: number): Promise<number> {
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
    status: { state: 'ok', quietFetches: 0 },
  } as unknown as Mailbox;
  await schedule.planNext(mailbox, retryMs, loginGapMs);
  return (puts[0] ?? 0) - NOW;
}

it('keeps to what a provider is known to want between two logins, however often its owner wants a fetch', async () => {
  expect(await planned('pop.example.com', 'schedule', 0)).toBeLessThanOrEqual(2 * MINUTE);
  expect(await planned('pop3.web.de', 'schedule', 0)).toBeGreaterThanOrEqual(12 * MINUTE);
  expect(await planned('POP3.WEB.DE.', MINUTE, 0)).toBe(12 * MINUTE);
});

it('takes the longer of what the provider and the server itself want', async () => {
  expect(await planned('pop3.web.de', 'schedule', 30 * MINUTE)).toBeGreaterThanOrEqual(30 * MINUTE);
  expect(await planned('pop3.web.de', MINUTE, 5 * MINUTE)).toBe(12 * MINUTE);
});
