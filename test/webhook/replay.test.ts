/** Deliveries that are sent again, on a real Redis and to real endpoints: what was missed, in which order, and after whoever asked has died. */
import { describe, expect, test } from 'vitest';
import { webhookKeys } from '../../src/redis/keys.ts';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { createDeliveryService, type DeliveryService } from '../../src/webhook/delivery-service.ts';
import type { DeliveryStore } from '../../src/webhook/delivery-store.ts';
import { claimMs, endedAgeMs, endedMax, lookedThroughMax } from '../../src/webhook/limits.ts';
import type { Webhook, WebhookSettings } from '../../src/webhook/webhook.ts';
import { received, TENANT, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';

const it = useDelivering();
const WAIT_MS = 15_000;
const MISSED = { states: ['missed'] } as const;

const receive = useReceivers();

const replays = (deliveries: Pick<DeliveryStore, 'requeue'> = it.deliveries): DeliveryService =>
  createDeliveryService(it.redis, { clock: it.clock, webhooks: it.webhooks, deliveries, due: it.due });
const subjectsOf = (receiver: WebhookReceiver): string[] =>
  receiver.received.map(({ body }) => (JSON.parse(body.toString()) as { subject: string }).subject);
const subjects = (numbers: readonly number[], mailbox = 1) =>
  numbers.map((number) => received(number, mailbox).subject);

/** A webhook that popbridge has disabled, as its endpoint wanted no more. */
async function disabled(
  settings: Partial<WebhookSettings> = {},
): Promise<{ webhook: Webhook; receiver: WebhookReceiver }> {
  const receiver = await receive();
  const webhook = await it.make(receiver.url, settings);
  const reason = { reason: 'gone' as const, at: new Date().toISOString() };
  await it.webhooks.change(webhook, async (known) => ({ webhook: { ...known, disabled: reason }, secrets: null }));
  return { webhook, receiver };
}

const enable = (webhook: Webhook) => it.service.change(webhook, { settings: {}, isDisabled: false });

describe('what was missed', () => {
  test('is counted, and sent under its own id once that is asked for and the webhook is enabled', async () => {
    const { webhook, receiver } = await disabled();
    it.start();
    for (let number = 1; number <= 3; number += 1) await it.announce(received(number));
    expect(await it.deliveries.countMissed(webhook)).toBe(3);
    await expect(replays().replayMany(webhook, MISSED, null)).rejects.toMatchObject({ code: 'conflict' });
    await enable(webhook);
    await it.announce(received(4));
    await it.until(webhook, received(4), 'delivered');
    expect(receiver.received).toHaveLength(1);

    expect(await replays().replayMany(webhook, MISSED, null)).toEqual({ replayed: 3, next: null });
    for (let number = 1; number <= 3; number += 1) await it.until(webhook, received(number), 'delivered');
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set([1, 2, 3, 4].map((number) => received(number).id)),
    );
    expect(await it.deliveries.countMissed(webhook)).toBe(0);
    expect(await replays().replayMany(webhook, MISSED, null)).toEqual({ replayed: 0, next: null });
  });

  test('is bounded by age and number: the oldest go', async () => {
    const { webhook } = await disabled();
    await it.announce(received(1));
    it.clock.aheadMs = endedAgeMs + 1_000;
    await it.announce(received(2));
    expect(await it.deliveries.find(webhook, received(1).id)).toBeNull();
    expect(await it.deliveries.countMissed(webhook)).toBe(1);

    const { ended } = webhookKeys(TENANT, webhook.id);
    const now = it.clock.now();
    await it.redis.zadd(ended, ...Array.from({ length: endedMax }, (_, at) => [now + 1, `other-${at}`]).flat());
    await it.announce(received(3));
    expect(await it.redis.zcard(ended)).toBe(endedMax);
    expect(await it.deliveries.find(webhook, received(2).id)).toBeNull();
  });
});

test('an ordered webhook gets them in the order of each mailbox, one at a time, and before what comes after', async () => {
  const { webhook, receiver } = await disabled({ isOrdered: true });
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8];
  for (const number of numbers) {
    it.clock.aheadMs += 1;
    await it.announce(received(number, 1 + (number % 2)));
  }
  await enable(webhook);
  await replays().replayMany(webhook, MISSED, null);
  await it.announce(received(9, 1));
  await it.announce(received(10, 2));
  it.start();
  for (const [number, mailbox] of [
    [9, 1],
    [10, 2],
  ] as const) {
    await it.until(webhook, received(number, mailbox), 'delivered');
  }
  const sent = subjectsOf(receiver);
  expect(sent.filter((subject) => subjects([2, 4, 6, 8, 9]).includes(subject))).toEqual(subjects([2, 4, 6, 8, 9]));
  expect(sent.filter((subject) => subjects([1, 3, 5, 7, 10]).includes(subject))).toEqual(subjects([1, 3, 5, 7, 10]));
});

test('whoever sends many again and dies over it: what was queued goes out by itself, and asking again brings the rest, each once', async () => {
  const { webhook, receiver } = await disabled();
  for (let number = 1; number <= 5; number += 1) {
    it.clock.aheadMs += 1;
    await it.announce(received(number));
  }
  await enable(webhook);
  // What enabling has woken is seen to.
  it.start();
  await expect.poll(() => it.redis.keys('*hooks/*:due'), { timeout: WAIT_MS }).toEqual([]);
  let left = 2;
  const dying = replays({
    async requeue(...about) {
      if (left-- === 0) throw new Error('killed');
      return it.deliveries.requeue(...about);
    },
  });
  await expect(dying.replayMany(webhook, MISSED, null)).rejects.toThrow('killed');
  it.clock.aheadMs += claimMs;
  for (const number of [1, 2]) await it.until(webhook, received(number), 'delivered');
  expect(await replays().replayMany(webhook, MISSED, null)).toEqual({ replayed: 3, next: null });
  for (const number of [3, 4, 5]) await it.until(webhook, received(number), 'delivered');
  expect(subjectsOf(receiver).toSorted()).toEqual(subjects([1, 2, 3, 4, 5]));
});

test('more than one request looks through are sent again page by page, each once', async () => {
  const { webhook, receiver } = await disabled({ concurrency: 50 });
  const count = lookedThroughMax + 20;
  await Promise.all(Array.from({ length: count }, (_, number) => it.announce(received(number))));
  await enable(webhook);
  it.start();
  const first = await replays().replayMany(webhook, MISSED, null);
  expect(first).toEqual({ replayed: lookedThroughMax, next: expect.any(String) as string });
  expect(await replays().replayMany(webhook, MISSED, first.next)).toEqual({ replayed: 20, next: null });
  await expect.poll(() => receiver.received.length, { timeout: WAIT_MS * 2 }).toBe(count);
  expect(new Set(subjectsOf(receiver)).size).toBe(count);
}, 60_000);

test('a window of time lets through what began in it', async () => {
  const { webhook } = await disabled();
  const begun: number[] = [];
  for (let number = 1; number <= 4; number += 1) {
    it.clock.aheadMs += 60_000;
    begun.push(it.clock.now());
    await it.announce(received(number));
  }
  await enable(webhook);
  const window = { ...MISSED, sinceMs: begun[1]! - 1_000, untilMs: begun[2]! + 1_000 };
  expect(await replays().replayMany(webhook, window, null)).toEqual({ replayed: 2, next: null });
  const states = await Promise.all(
    [1, 2, 3, 4].map(async (number) => (await it.deliveries.find(webhook, received(number).id))!.state),
  );
  expect(states).toEqual(['missed', 'pending', 'pending', 'missed']);
});

test('they are sent at the rate of the webhook', async () => {
  const { webhook, receiver } = await disabled({ ratePerSecond: 10 });
  for (let number = 1; number <= 6; number += 1) await it.announce(received(number));
  await enable(webhook);
  await replays().replayMany(webhook, MISSED, null);
  it.start();
  for (let number = 1; number <= 6; number += 1) await it.until(webhook, received(number), 'delivered');
  const times = receiver.received.map(({ receivedAt }) => receivedAt.getTime());
  expect(times.at(-1)! - times[0]!).toBeGreaterThanOrEqual(450);
});
