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
