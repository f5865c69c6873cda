import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EventRef } from '../../src/event/event.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { isRedisUnavailable, openBlockingRedis, openRedis } from '../../src/redis/connection.ts';
import { queuePrefix } from '../../src/redis/keys.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { abandonDelivery, attemptDelivery, type NextAttempt } from '../../src/webhook/delivery.ts';
import { jobStartsMax, ownFaultDelayMs, ownFaultDelayMsMax } from '../../src/webhook/limits.ts';
import { createWebhookQueue, WEBHOOK_QUEUE, type WebhookQueue } from '../../src/webhook/queue.ts';
import { createSender, type Sender } from '../../src/webhook/sender.ts';
import { createSubscriptionStore, type SubscriptionStore } from '../../src/webhook/subscription-store.ts';
import { createWebhookWorker, type WebhookWorker, type WebhookWorkerOptions } from '../../src/webhook/worker.ts';
import { received } from '../support/events.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const SECRET = `whsec_${randomBytes(24).toString('base64')}`;
const REF = { tenant: 'default', id: 'fch_1' };
const EVENT = received('msg_1');
const QUEUE_KEY = `${queuePrefix(WEBHOOK_QUEUE)}:${WEBHOOK_QUEUE}`;
const JOB_KEY = `${QUEUE_KEY}:${EVENT.fetchId}-${EVENT.id}`;
const WAIT_MS = 5_000;
const logger = pino({ level: 'silent' });

let server: TestRedis;
let redis: Redis;
let subscriptions: SubscriptionStore;
let queue: WebhookQueue;
let receiver: WebhookReceiver;
let sender: Sender;
let answers: number[];
let cleanups: (() => unknown)[];

beforeEach(async () => {
  cleanups = [];
  answers = [];
  server = await startRedis();
  cleanups.push(() => server.close());
  redis = openRedis(server.url, logger);
  await redis.connect();
  cleanups.push(() => redis.disconnect());
  receiver = await startWebhookReceiver({ answer: () => answers.shift() ?? 204 });
  cleanups.push(() => receiver.close());
  sender = createSender({
    proxy: null,
    resolve: async () => [{ address: '127.0.0.1', family: 4 }],
    userAgent: 'popbridge-test',
  });
  cleanups.push(() => sender.close());
  subscriptions = createSubscriptionStore(redis, createSealer(`k1:${randomBytes(32).toString('base64')}`));
  await subscriptions.register(REF, { url: receiver.url, secret: SECRET });
  queue = await createWebhookQueue(redis, subscriptions, logger);
  cleanups.push(() => queue.close());
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

/** One real attempt, except that the pause after it is short. */
async function attempt(event: EventRef, number: number, delayMs = 10): Promise<NextAttempt> {
  const ports = {
    clock: { now: () => Date.now() },
    random: () => 0.5,
    subscriptions,
    buildPayload: async () => JSON.stringify({ messageId: event.subject }),
    post: sender.post,
  };
  return (await attemptDelivery(ports, event, number)) && { delayMs };
}

function startWorker(over: Partial<WebhookWorkerOptions> = {}): WebhookWorker {
  const blocking = openBlockingRedis(server.url, logger);
  const worker = createWebhookWorker({
    blocking,
    concurrency: 4,
    attempt: (event, number) => attempt(event, number),
    abandon: (event, attempts) => abandonDelivery({ clock: { now: () => Date.now() }, subscriptions }, event, attempts),
    clock: { now: () => Date.now() },
    logger,
    ...over,
  });
  cleanups.push(async () => {
    await worker.close(1_000);
    blocking.disconnect();
  });
  return worker;
}

const countDeliveries = async () => (await subscriptions.summarise(REF))?.deliveries;
async function until(deliveries: { pending: number; delivered: number; failed: number }): Promise<void> {
  await expect.poll(countDeliveries, { timeout: WAIT_MS, interval: 10 }).toEqual(deliveries);
}

/** When the one delayed job is due. */
async function readDueMs(): Promise<number> {
  await expect.poll(() => redis.zcard(`${QUEUE_KEY}:delayed`), { timeout: WAIT_MS, interval: 10 }).toBe(1);
  // BullMQ's score is the time in milliseconds, times 4096.
  const [, score] = await redis.zrange(`${QUEUE_KEY}:delayed`, '0', '0', 'WITHSCORES');
  return Number(score) / 4096;
}

test('an event is delivered, and the fetch shows it', async () => {
  await queue.announce(EVENT);
  expect(await countDeliveries()).toEqual({ pending: 1, delivered: 0, failed: 0 });
  startWorker();
  await until({ pending: 0, delivered: 1, failed: 0 });
  expect(receiver.received).toHaveLength(1);
});

test('what is not acknowledged is sent again, under the same webhook-id, until it is', async () => {
  answers = [500, 302, 429];
  await queue.announce(EVENT);
  const numbers: number[] = [];
  startWorker({
    attempt(event, number) {
      numbers.push(number);
      return attempt(event, number);
    },
  });
  await until({ pending: 0, delivered: 1, failed: 0 });
  expect(receiver.received.map(({ headers }) => headers['webhook-id'])).toEqual(Array(4).fill(EVENT.id));
  expect(numbers).toEqual([1, 2, 3, 4]);
});

test('the pause is the one that was decided', async () => {
  answers = [500];
  await queue.announce(EVENT);
  const delayMs = 3_600_000;
  const startedAtMs = Date.now();
  startWorker({ attempt: (event, number) => attempt(event, number, delayMs) });
  const dueMs = await readDueMs();
  expect(dueMs).toBeGreaterThanOrEqual(startedAtMs + delayMs);
  expect(dueMs).toBeLessThan(Date.now() + delayMs + 1_000);
});

test('a job holds ids only: no address, no secret, no mail', async () => {
  await queue.announce(EVENT);
  const job = await redis.hgetall(JOB_KEY);
  expect(JSON.parse(job['data'] ?? '')).toEqual(EVENT);
  const all = await Promise.all((await redis.keys(`${QUEUE_KEY}*`)).map((key) => redis.dump(key)));
  expect(all.length).toBeGreaterThan(1);
  for (const text of [...all, JSON.stringify(job)]) {
    expect(text).not.toContain(SECRET.slice(6));
    expect(text).not.toContain(receiver.url);
  }
});

test('an event that is announced again, before and after, is delivered once', async () => {
  await Promise.all([queue.announce(EVENT), queue.announce(EVENT)]);
  startWorker();
  await until({ pending: 0, delivered: 1, failed: 0 });
  await queue.announce(EVENT);
  // A job that had been added would come before this one.
  const next = received('msg_2');
  await queue.announce(next);
  await until({ pending: 0, delivered: 2, failed: 0 });
  expect(receiver.received.map(({ headers }) => headers['webhook-id'])).toEqual([EVENT.id, next.id]);
});

test('a crash between the note and the job is made good by announcing again', async () => {
  await subscriptions.begin(REF, EVENT.id);
  await queue.announce(EVENT);
  startWorker();
  await until({ pending: 0, delivered: 1, failed: 0 });
});

test('a fetch without a webhook queues nothing', async () => {
  await queue.announce({ ...EVENT, fetchId: 'fch_2' });
  expect(await redis.keys(`${QUEUE_KEY}*`)).toEqual([`${QUEUE_KEY}:meta`]);
});

test('a fault of ours is tried again, and costs the endpoint no attempt', async () => {
  await queue.announce(EVENT);
  const numbers: number[] = [];
  startWorker({
    // A clock that lags takes the pause off.
    clock: { now: () => Date.now() - ownFaultDelayMsMax },
    async attempt(event, number) {
      numbers.push(number);
      if (numbers.length > 2) return attempt(event, number);
      throw new Error('the disk is away');
    },
  });
  await until({ pending: 0, delivered: 1, failed: 0 });
  expect(numbers).toEqual([1, 1, 1]);
  expect(await redis.hmget(JOB_KEY, 'ats', 'atm')).toEqual(['3', '1']);
});

test.each([
  [1, ownFaultDelayMs],
  [10, 10 * ownFaultDelayMs],
  [500, ownFaultDelayMsMax],
])('the pause after a fault of ours grows up to a bound: start %i, %i ms', async (start, pauseMs) => {
  await queue.announce(EVENT);
  await redis.hset(JOB_KEY, { ats: start - 1 });
  const startedAtMs = Date.now();
  startWorker({ attempt: () => Promise.reject(new Error('the disk is away')) });
  const dueMs = await readDueMs();
  expect(dueMs).toBeGreaterThanOrEqual(startedAtMs + pauseMs);
  expect(dueMs).toBeLessThan(Date.now() + pauseMs);
});

test('a delivery whose workers die again and again is given up in the end, and shows as failed', async () => {
  await queue.announce(EVENT);
  await redis.hset(JOB_KEY, 'ats', jobStartsMax);
  startWorker();
  await until({ pending: 0, delivered: 0, failed: 1 });
  expect(receiver.received).toEqual([]);
  expect((await subscriptions.summarise(REF))?.lastFailure).toMatchObject({ nextAttemptAt: null });
});

test('a dead endpoint does not hold up the others', async () => {
  const other = { tenant: 'default', id: 'fch_2' };
  await subscriptions.register(other, { url: 'http://127.0.0.1:1/', secret: SECRET });
  for (let number = 0; number < 20; number += 1) {
    await queue.announce(received(`msg_dead${number}`, other.id));
  }
  await queue.announce(EVENT);
  startWorker({ concurrency: 1, attempt: (event, number) => attempt(event, number, 60_000) });
  await until({ pending: 0, delivered: 1, failed: 0 });
  expect((await subscriptions.summarise(other))?.deliveries).toEqual({ pending: 20, delivered: 0, failed: 0 });
});

test('deliveries go on by themselves when Redis comes back, and none is lost', async () => {
  startWorker();
  await queue.announce(EVENT);
  await until({ pending: 0, delivered: 1, failed: 0 });
  // The AOF is synced every second, so a kill may take the last one: a clean end does not.
  await server.kill('SIGTERM');
  await expect(queue.announce(received('msg_2'))).rejects.toSatisfy(isRedisUnavailable);
  await server.restart();
  const next = received('msg_2');
  await expect
    .poll(
      () =>
        queue.announce(next).then(
          () => true,
          () => false,
        ),
      { timeout: WAIT_MS },
    )
    .toBe(true);
  await expect.poll(countDeliveries, { timeout: 20_000, interval: 20 }).toEqual({
    pending: 0,
    delivered: 2,
    failed: 0,
  });
});

test('close ends within its grace, with an attempt that hangs and with Redis away', async () => {
  const hanging = Promise.withResolvers<void>();
  const worker = startWorker({
    attempt() {
      hanging.resolve();
      return new Promise(() => {});
    },
  });
  await queue.announce(EVENT);
  await hanging.promise;
  await server.kill();
  const startedAt = performance.now();
  await Promise.all([worker.close(100), queue.close()]);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});
