/** How a webhook fares: its breaker, its end after days of failure or by 410, its return, and what is told of each. */
import { expect, test } from 'vitest';
import { webhookKeys } from '../../src/redis/keys.ts';
import { createDeliveryService } from '../../src/webhook/delivery-service.ts';
import { disabledAfterMs } from '../../src/webhook/limits.ts';
import { received, TENANT, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';

const it = useDelivering();
const WAIT_MS = 15_000;

const receive = useReceivers();

test('410 disables the webhook at once, and what happens from then on is kept as missed', async () => {
  const receiver = await receive({ answer: () => 410 });
  const webhook = await it.make(receiver.url);
  it.start();
  await it.announce(received(1));
  await it.until(webhook, received(1), 'failed');
  expect((await it.webhooks.find(webhook))!.disabled).toMatchObject({ reason: 'gone' });
  await expect
    .poll(() => it.told, { timeout: WAIT_MS })
    .toMatchObject([{ type: 'webhook.disabled', subject: webhook.id, facts: { reason: 'gone' } }]);
  await it.announce(received(2));
  expect((await it.until(webhook, received(2), 'missed')).attempts).toEqual([]);
  expect(receiver.received).toHaveLength(1);
});

test('410 to many at once is told of once, and to the same delivery again once it is enabled: as another event', async () => {
  const held = Promise.withResolvers<void>();
  const receiver = await receive({
    async answer() {
      await held.promise;
      return 410;
    },
  });
  const webhook = await it.make(receiver.url, { timeoutMs: 15_000 });
  const deliveries = createDeliveryService(it.redis, it);
  const ids = () => new Set(it.told.map(({ id }) => id)).size;
  it.start();
  await it.announce(received(1));
  await it.announce(received(2));
  await receiver.waitFor(2, WAIT_MS);
  held.resolve();
  const { id } = await it.until(webhook, received(1), 'failed');
  await it.until(webhook, received(2), 'failed');
  await expect.poll(ids, { timeout: WAIT_MS }).toBe(1);
  await it.service.change(webhook, { settings: {}, isDisabled: false });
  await deliveries.replay(TENANT, id);
  await expect.poll(ids, { timeout: WAIT_MS }).toBe(2);
  expect(it.told.map(({ type }) => type)).toEqual(['webhook.disabled', 'webhook.disabled']);
});

test('that a webhook was disabled is told of even if its worker cannot tell it at first', async () => {
  const receiver = await receive({ answer: () => 410 });
  const webhook = await it.make(receiver.url);
  let faults = 1;
  it.start({
    async announce(event) {
      if (faults-- > 0) {
        await it.redis.pexpire(webhookKeys(TENANT, webhook.id).drainer, 1);
        it.clock.aheadMs += 60_000; // Its claim has run out.
        throw new Error('Redis is away');
      }
      it.told.push(event);
    },
  });
  await it.announce(received(1));
  await expect.poll(() => it.told, { timeout: WAIT_MS }).toMatchObject([{ type: 'webhook.disabled' }]);
  expect((await it.webhooks.find(webhook))!.disabled).toMatchObject({ reason: 'gone' });
});

test('the breaker opens on an endpoint that is dead: what waits spends no attempt, and is delivered when it is back', async () => {
  let isDead = true;
  const receiver = await receive({ answer: () => (isDead ? 500 : 204) });
  const webhook = await it.make(receiver.url, { concurrency: 1 });
  const events = Array.from({ length: 30 }, (_, number) => received(number));
  for (const event of events) await it.announce(event);
  it.start({ retryDelaysMs: Array.from({ length: 50 }, () => 10) });
  await expect
    .poll(async () => (await it.deliveries.readHealth(webhook)).openUntilMs, { timeout: WAIT_MS })
    .not.toBeNull();
  const spentOf = async () => {
    const all = await Promise.all(events.map((event) => it.deliveries.find(webhook, event.id)));
    return all.reduce((sum, delivery) => sum + delivery!.spent, 0);
  };
  // The last of them may be on record a moment after the health that it led to.
  await expect.poll(spentOf, { timeout: WAIT_MS }).toBe(receiver.received.length);
  expect(receiver.received).toHaveLength(10);
  expect(await it.webhooks.countStates([webhook.tenant])).toEqual({ ok: 0, open: 1, disabled: 0 });
  isDead = false;
  it.clock.aheadMs = 60_000;
  await it.due.wake(webhook, 0);
  for (const event of events) await it.until(webhook, event, 'delivered');
  expect(await it.webhooks.countStates([webhook.tenant])).toEqual({ ok: 1, open: 0, disabled: 0 });
});

test('an endpoint that fails for five days is told of at 50, 70 and 90 percent, and disabled; enabled again it recovers', async () => {
  let isDead = true;
  const receiver = await receive({ answer: () => (isDead ? 500 : 204) });
  const webhook = await it.make(receiver.url);
  it.start({ retryDelaysMs: Array.from({ length: 50 }, () => 10) });
  await it.announce(received(1));
  await expect
    .poll(async () => (await it.deliveries.readHealth(webhook)).failingSinceMs, { timeout: WAIT_MS })
    .not.toBeNull();
  for (const share of [0.55, 0.75, 0.95, 1.01]) {
    const before = it.told.length;
    it.clock.aheadMs = share * disabledAfterMs;
    await it.due.wake(webhook, 0);
    await expect.poll(() => it.told.length, { timeout: WAIT_MS }).toBe(before + 1);
  }
  const types = () => it.told.map(({ type, facts }) => [type, 'percent' in facts ? facts.percent : null]);
  expect(types()).toEqual([
    ['webhook.failing', 50],
    ['webhook.failing', 70],
    ['webhook.failing', 90],
    ['webhook.disabled', null],
  ]);
  expect((await it.webhooks.find(webhook))!.disabled).toMatchObject({ reason: 'failing' });
  expect(await it.webhooks.countStates([webhook.tenant])).toEqual({ ok: 0, open: 0, disabled: 1 });
  isDead = false;
  it.clock.aheadMs += 3_600_000;
  await it.service.change(webhook, { settings: {}, isDisabled: false });
  await it.until(webhook, received(1), 'delivered');
  expect(types().at(-1)).toEqual(['webhook.recovered', null]);
});

test('that a webhook has recovered is told of even if its worker cannot tell it at first, and dies', async () => {
  const receiver = await receive();
  const webhook = await it.make(receiver.url);
  await it.service.change(webhook, { settings: {}, isDisabled: true });
  await it.service.change(webhook, { settings: {}, isDisabled: false });
  const refused = Promise.withResolvers<void>();
  const first = it.start({
    async announce() {
      refused.resolve();
      throw new Error('Redis is away');
    },
  });
  await it.announce(received(1));
  await refused.promise;
  // It had its answer, and the others of this webhook are put on record.
  await it.announce(received(2));
  await receiver.waitFor(2, WAIT_MS);
  await first.close(5_000);
  it.clock.aheadMs = 60_000;
  it.start();
  await it.until(webhook, received(1), 'delivered');
  await it.until(webhook, received(2), 'delivered');
  expect(new Set(it.told.map(({ type }) => type))).toEqual(new Set(['webhook.recovered']));
  expect(new Set(it.told.map(({ id }) => id)).size).toBe(1);
});

test.each(['by 410', 'by its owner'])(
  'disabled %s and enabled again while an attempt hangs: it starts anew, with what that attempt comes to',
  async (how) => {
    const held = Promise.withResolvers<void>();
    const receiver = await receive({
      async answer({ body }) {
        if (!body.toString().includes(received(1).subject)) return how === 'by 410' ? 410 : 500;
        await held.promise;
        return 500;
      },
    });
    const webhook = await it.make(receiver.url, { timeoutMs: 15_000 });
    it.start({ retryDelaysMs: [60_000] });
    await it.announce(received(1));
    await receiver.waitFor(1, WAIT_MS);
    await it.announce(received(2));
    await it.untilTried(webhook, received(2), 1);
    if (how === 'by its owner') await it.service.change(webhook, { settings: {}, isDisabled: true });
    const before = it.clock.now();
    const { enabledAt } = (await it.service.change(webhook, { settings: {}, isDisabled: false }))!;
    held.resolve();
    await it.untilTried(webhook, received(1), 1);
    const { failingSinceMs, ...health } = await it.deliveries.readHealth(webhook);
    expect(failingSinceMs).toBeGreaterThanOrEqual(before);
    expect(health).toMatchObject({ enabledAt, isProving: true, results: '0', noticed: 0 });
  },
);
