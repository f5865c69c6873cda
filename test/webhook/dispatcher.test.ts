import { pino } from 'pino';
import { expect, test } from 'vitest';
import { startDispatcher } from '../../src/webhook/dispatcher.ts';
import type { ClaimedWebhook } from '../../src/webhook/due-webhooks.ts';
import { drainsMax } from '../../src/webhook/limits.ts';

/** Webhooks of a tenant that are all due. */
function dueOf(tenant: string, count: number): ClaimedWebhook[] {
  return Array.from({ length: count }, (_, at) => ({ tenant, id: `whk_${at}`, claim: at }));
}

/** What a dispatcher takes up of what is due, where nothing that it takes up comes to an end until it is told to. */
async function takeUp(rounds: ClaimedWebhook[][]) {
  const taken: string[] = [];
  const ended = Promise.withResolvers<void>();
  const looked = Promise.withResolvers<void>();
  const dispatcher = startDispatcher({
    due: {
      claim: async (_nowMs, max) => (rounds.shift() ?? []).slice(0, max),
      settle: async () => undefined,
    },
    async drain({ tenant }) {
      taken.push(tenant);
      await ended.promise;
      return null;
    },
    clock: {
      now: () => 0,
      async sleep(_ms, signal) {
        if (rounds.length > 0) return;
        looked.resolve();
        await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
      },
    },
    isStorageAway: () => false,
    logger: pino({ level: 'silent' }),
  });
  await looked.promise;
  ended.resolve();
  await dispatcher.close(1_000);
  return (tenant: string): number => taken.filter((each) => each === tenant).length;
}

test('a tenant whose webhooks all hang leaves half of a worker to others, and the next such one half of that', async () => {
  const taken = await takeUp([dueOf('one', drainsMax), dueOf('two', drainsMax), dueOf('three', 1)]);
  expect([taken('one'), taken('two'), taken('three')]).toEqual([drainsMax / 2, drainsMax / 4, 1]);
});

test('a webhook that is still being delivered to is not taken up again', async () => {
  const taken = await takeUp([dueOf('one', 1), dueOf('one', 1), dueOf('one', 2)]);
  expect(taken('one')).toBe(2);
});

test('a webhook that is woken when its drain has seen the last of it is looked at again as soon as that has ended', async () => {
  const webhook = { tenant: 'one', id: 'whk_1' };
  /** When it is due; the clock stands still, so that what is put off never comes due by itself. */
  let dueMs = 0;
  let claims = 0;
  let drains = 0;
  const settling = Promise.withResolvers<void>();
  const settled = Promise.withResolvers<void>();
  const claimedAgain = Promise.withResolvers<void>();
  const drainedAgain = Promise.withResolvers<void>();
  const dispatcher = startDispatcher({
    due: {
      async claim(nowMs) {
        if (dueMs > nowMs) {
          if (claims === 2) claimedAgain.resolve();
          return [];
        }
        claims += 1;
        dueMs = nowMs + claims;
        return [{ ...webhook, claim: dueMs }];
      },
      async settle({ claim }, nextMs) {
        settling.resolve();
        await settled.promise;
        if (dueMs === claim) dueMs = nextMs ?? Infinity;
      },
    },
    async drain() {
      drains += 1;
      if (drains === 2) drainedAgain.resolve();
      return null;
    },
    clock: { now: () => 0, sleep: () => new Promise((resolve) => setImmediate(resolve)) },
    isStorageAway: () => false,
    logger: pino({ level: 'silent' }),
  });
  await settling.promise;
  dueMs = 0;
  await claimedAgain.promise;
  settled.resolve();
  await drainedAgain.promise;
  await dispatcher.close(1_000);
  expect([claims, dueMs]).toEqual([3, Infinity]);
});
