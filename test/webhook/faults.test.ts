/** Endpoints that come and go, clocks that jump, a Redis that goes away: nothing is lost, nothing comes in a storm. */
import { describe, expect, test } from 'vitest';
import type { EventRef } from '../../src/event/event.ts';
import { isRedisUnavailable } from '../../src/redis/connection.ts';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { breakerOpenMsMax } from '../../src/webhook/limits.ts';
import type { Webhook } from '../../src/webhook/webhook.ts';
import { received, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';
import { useSender } from './sender-fixture.ts';

const it = useDelivering();
const { makeSender } = useSender();
const WAIT_MS = 15_000;
const HOUR_MS = 60 * 60 * 1000;
/** More than any of these needs. */
const RETRIES = Array.from({ length: 60 }, () => 10);

const start = useReceivers();
const receive: typeof start = (options) => start({ limits: { keptMax: Infinity }, ...options });
const idsAt = (receiver: WebhookReceiver) => new Set(receiver.received.map(({ headers }) => headers['webhook-id']));
const eventsFrom = (from: number, count: number) => Array.from({ length: count }, (_, at) => received(from + at));
const openUntilMs = async (webhook: Webhook) => (await it.deliveries.readHealth(webhook)).openUntilMs;

async function spentOf(webhook: Webhook, events: readonly EventRef[]): Promise<number> {
  const all = await Promise.all(events.map((event) => it.deliveries.find(webhook, event.id)));
  return all.reduce((sum, delivery) => sum + delivery!.spent, 0);
}

test('an endpoint that is down and up again and again gets every event, and each time it is down no more attempts than open the breaker', async () => {
  let isDown = false;
  const receiver = await receive({ answer: () => (isDown ? 500 : 204) });
  const webhook = await it.make(receiver.url, { concurrency: 1 });
  it.start({ retryDelaysMs: RETRIES });
  const all: EventRef[] = [];
  for (let round = 0; round < 4; round += 1) {
    isDown = true;
    const events = eventsFrom(round * 30, 30);
    all.push(...events);
    const from = receiver.received.length;
    for (const event of events) await it.announce(event);
    await expect.poll(() => openUntilMs(webhook), { timeout: WAIT_MS }).not.toBeNull();
    const before = receiver.received.length;
    // The breaker may be on record before the attempt that opened it is.
    await expect.poll(() => spentOf(webhook, events), { timeout: WAIT_MS }).toBe(before - from);
    const spent = before - from;
    // At most 20 results are looked at, of which 70 % must be failures, whatever was before.
    expect(spent).toBeGreaterThanOrEqual(10);
    expect(spent).toBeLessThanOrEqual(14);
    isDown = false;
    it.clock.aheadMs += breakerOpenMsMax;
    for (const event of events) await it.until(webhook, event, 'delivered');
    // Each was sent once more.
    expect(receiver.received.length - before).toBe(30);
    await expect.poll(() => openUntilMs(webhook), { timeout: WAIT_MS }).toBeNull();
    expect((await it.deliveries.readHealth(webhook)).openings).toBe(0);
  }
  expect(idsAt(receiver)).toEqual(new Set(all.map(({ id }) => id)));
  expect(it.told).toEqual([]);
}, 60_000);

describe('a clock that jumps', () => {
  test('ahead by hours and back, over deliveries that wait: nothing is lost, one probe at a time is sent, each at the time that the clock has', async () => {
    let isDown = true;
    let underWay = 0;
    let mostAtOnce = 0;
    const lagsMs: number[] = [];
    const receiver = await receive({
      async answer({ headers }) {
        lagsMs.push(Math.abs(it.clock.now() - Number(headers['webhook-timestamp']) * 1000));
        underWay += 1;
        mostAtOnce = Math.max(mostAtOnce, underWay);
        await new Promise((resolve) => setImmediate(resolve));
        underWay -= 1;
        return isDown ? 500 : 204;
      },
    });
    const webhook = await it.make(receiver.url, { concurrency: 3, ratePerSecond: 200 });
    const events = eventsFrom(0, 40);
    for (const event of events) await it.announce(event);
    it.start({ retryDelaysMs: Array.from({ length: 20 }, () => HOUR_MS) });
    const openings = async () => (await it.deliveries.readHealth(webhook)).openings;
    await expect.poll(openings, { timeout: WAIT_MS }).toBe(1);
    await expect.poll(() => spentOf(webhook, events), { timeout: WAIT_MS }).toBe(receiver.received.length);
    const opened = receiver.received.length;
    expect(opened).toBeLessThanOrEqual(12);

    // All of them are due at once, and it is still down.
    it.clock.aheadMs = 5 * HOUR_MS;
    await expect.poll(openings, { timeout: WAIT_MS }).toBe(2);
    expect(receiver.received.length).toBe(opened + 1);

    // Its breaker was opened until hours ahead: what comes next is the probe.
    it.clock.aheadMs = 0;
    await it.announce(received(40));
    await expect.poll(openings, { timeout: WAIT_MS }).toBe(3);
    expect(receiver.received.length).toBe(opened + 2);

    isDown = false;
    it.clock.aheadMs = HOUR_MS / 2;
    await it.due.wake(webhook, 0);
    // Those that were not tried yet; what failed keeps its pause.
    await it.until(webhook, received(40), 'delivered');
    await it.until(webhook, received(39), 'delivered');
    // The pause of one was counted from five hours ahead.
    it.clock.aheadMs = 6.5 * HOUR_MS;
    await it.due.wake(webhook, 0);
    for (const event of [...events, received(40)]) await it.until(webhook, event, 'delivered');
    expect(idsAt(receiver).size).toBe(41);
    expect(receiver.received.length).toBe(opened + 2 + 41);
    expect(mostAtOnce).toBeLessThanOrEqual(3);
    expect(Math.max(...lagsMs)).toBeLessThan(WAIT_MS);
  }, 60_000);

  test.each([
    ['two days behind', -48, 24 * HOUR_MS],
    ['two days ahead', 48, HOUR_MS],
  ])(
    '%s: a date in Retry-After holds for a day at most, and the schedule holds at the least',
    async (_what, hours, waitMs) => {
      let status = 503;
      const receiver = await receive({ answer: () => status });
      const webhook = await it.make(receiver.url);
      const sender = makeSender({ timeoutMs: 2_000 });
      const retryAfter = new Date(Date.now() + 10 * 60_000).toUTCString();
      it.clock.aheadMs = hours * HOUR_MS;
      it.start({
        retryDelaysMs: [HOUR_MS],
        post: async (...request) => ({ ...(await sender.post(...request)), retryAfter }),
      });
      await it.announce(received(1));
      const { nextAttemptAt } = await it.untilTried(webhook, received(1), 1);
      const leftMs = Date.parse(nextAttemptAt!) - it.clock.now();
      expect(leftMs).toBeLessThanOrEqual(waitMs);
      expect(leftMs).toBeGreaterThan(waitMs - 60_000);
      status = 204;
      it.clock.aheadMs += waitMs;
      await it.until(webhook, received(1), 'delivered');
      expect(receiver.received).toHaveLength(2);
    },
  );

  test('back while a worker delivers: it keeps the webhook to itself', async () => {
    const answered = Promise.withResolvers<void>();
    const receiver = await receive({
      async answer() {
        await answered.promise;
        return 204;
      },
    });
    const webhook = await it.make(receiver.url, { timeoutMs: 15_000 });
    const renewed = Promise.withResolvers<void>();
    it.start({
      deliveries: {
        ...it.deliveries,
        async renew(...given) {
          renewed.resolve();
          return it.deliveries.renew(...given);
        },
      },
    });
    await it.announce(received(1));
    await receiver.waitFor(1, WAIT_MS);
    it.clock.aheadMs = -5 * HOUR_MS;
    await renewed.promise;
    answered.resolve();
    await it.until(webhook, received(1), 'delivered');
    expect(receiver.received).toHaveLength(1);
  });
});

test('deliveries go on by themselves when Redis comes back, and none is lost', async () => {
  const receiver = await receive({});
  const webhook = await it.make(receiver.url);
  it.start();
  await it.announce(received(1));
  await it.until(webhook, received(1), 'delivered');
  // The AOF is synced every second, so a kill may take the last one: a clean end does not.
  await it.server.kill('SIGTERM');
  await expect(it.announce(received(2))).rejects.toSatisfy(isRedisUnavailable);
  await it.server.restart();
  const announced = () =>
    it.announce(received(2)).then(
      () => true,
      () => false,
    );
  await expect.poll(announced, { timeout: WAIT_MS }).toBe(true);
  await it.until(webhook, received(2), 'delivered');
  expect(idsAt(receiver)).toEqual(new Set([received(1).id, received(2).id]));
}, 30_000);

test('a worker ends within its grace, with an attempt that hangs and with Redis away', async () => {
  const asked = Promise.withResolvers<void>();
  await it.make('http://127.0.0.1:9/');
  const dispatcher = it.start({
    post() {
      asked.resolve();
      return new Promise(() => {});
    },
  });
  await it.announce(received(1));
  await asked.promise;
  await it.server.kill();
  let isEnded = false;
  const ended = dispatcher.close(100).then(() => (isEnded = true));
  await expect.poll(() => isEnded, { timeout: 3_000 }).toBe(true);
  await ended;
});
