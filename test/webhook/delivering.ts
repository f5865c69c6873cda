/** Webhooks of one tenant on a real Redis, with workers that deliver to real endpoints; all gone again after each test. */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, expect } from 'vitest';
import { describeEvent, type EventRef, type NewEvent } from '../../src/event/event.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { isRedisUnavailable, openRedis } from '../../src/redis/connection.ts';
import { announceToWebhooks } from '../../src/webhook/announce.ts';
import { acknowledgeMessage } from '../../src/webhook/acknowledgement.ts';
import type { Delivery } from '../../src/webhook/delivery-record.ts';
import { createAwaited, type Awaited } from '../../src/webhook/awaited.ts';
import { createDeliveryStore, type DeliveryStore } from '../../src/webhook/delivery-store.ts';
import { startDispatcher, type Dispatcher } from '../../src/webhook/dispatcher.ts';
import { drainWebhook, type DrainPorts } from '../../src/webhook/drain.ts';
import { createDueWebhooks, type DueWebhooks } from '../../src/webhook/due-webhooks.ts';
import { createBeat } from '../../src/webhook/beat.ts';
import { createLanes } from '../../src/webhook/lanes.ts';
import { crowdedAnswerMs, leaveBeatMs, placesInTurn, recordBeatMs, slowAnswerMs } from '../../src/webhook/limits.ts';
import { createSender, type Sender } from '../../src/webhook/sender.ts';
import { createFetchWebhooks, type FetchWebhooks } from '../../src/webhook/fetch-webhooks.ts';
import { createEndpoints, type Webhook, type WebhookRef, type WebhookSettings } from '../../src/webhook/webhook.ts';
import { createWebhookService, type WebhookService } from '../../src/webhook/webhook-service.ts';
import { createWebhookStore, type WebhookStore } from '../../src/webhook/webhook-store.ts';
import { LOOPBACK } from './sender-fixture.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

export const TENANT = 'default';
const WAIT_MS = 15_000;
const logger = pino({ level: 'silent' });

export interface Delivering {
  server: TestRedis;
  redis: Redis;
  webhooks: WebhookStore;
  fetchWebhooks: FetchWebhooks;
  service: WebhookService;
  deliveries: DeliveryStore;
  awaited: Awaited;
  due: DueWebhooks;
  /** What was announced of webhooks themselves. */
  told: NewEvent[];
  /** Messages that count as acknowledged, each time that was said. */
  acknowledged: string[];
  /** Added to the real time. */
  clock: { aheadMs: number; now(): number };
  make(url: string, settings?: Partial<WebhookSettings>): Promise<Webhook & { secret: string }>;
  announce(event: EventRef): Promise<void>;
  start(over?: Partial<DrainPorts>): Dispatcher;
  /** Waits until the delivery is so. */
  until(webhook: WebhookRef, event: EventRef, state: Delivery['state']): Promise<Delivery>;
  /** Waits until that many attempts of it are recorded. */
  untilTried(webhook: WebhookRef, event: EventRef, attempts: number): Promise<Delivery>;
}

export function received(number: number, mailbox = 1): EventRef {
  const about = {
    tenant: TENANT,
    subject: `msg_${String(number).padStart(32, '0')}`,
    time: '2026-11-23T12:00:00.000Z',
    mailboxId: `mbx_${String(mailbox).padStart(32, '0')}`,
    fetchId: `fch_${'1'.repeat(26)}`,
    facts: {},
  };
  return { ...describeEvent('message.received', about), sequence: number };
}

export function useDelivering(): Delivering {
  const cleanups: (() => unknown)[] = [];
  const it = { clock: { aheadMs: 0, now: () => Date.now() + it.clock.aheadMs } } as Delivering;
  let server: TestRedis;
  let sender: Sender;

  beforeEach(async () => {
    server = await startRedis();
    cleanups.push(() => server.close());
    const redis = openRedis(server.url, logger);
    await redis.connect();
    cleanups.push(() => redis.disconnect());
    sender = createSender({ resolve: async () => LOOPBACK, proxy: null, userAgent: 'popbridge-test' });
    cleanups.push(() => sender.close());
    const sealer = createSealer(`k1:${randomBytes(32).toString('base64')}`);
    const webhooks = createWebhookStore(redis, sealer);
    const fetchWebhooks = createFetchWebhooks(redis, sealer);
    const deliveries = createDeliveryStore(redis);
    const due = createDueWebhooks(redis, Math.random);
    const awaited = createAwaited(redis);
    const { clock } = it;
    clock.aheadMs = 0;
    const service = createWebhookService({ clock, random: randomBytes, webhooks, deliveries, due, checkUrl: () => {} });
    Object.assign(it, {
      server,
      redis,
      webhooks,
      fetchWebhooks,
      service,
      deliveries,
      awaited,
      due,
      told: [],
      acknowledged: [],
    });
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  const find = (webhook: WebhookRef, event: EventRef) => it.deliveries.find(webhook, event.id);
  return Object.assign(it, {
    async make(url: string, settings: Partial<WebhookSettings> = {}) {
      const { webhook, secret } = await it.service.create(TENANT, {
        settings: {
          url,
          description: null,
          events: ['*'],
          mailboxes: null,
          payload: 'thin',
          ratePerSecond: null,
          concurrency: 5,
          isOrdered: false,
          timeoutMs: 2_000,
          hasEd25519: false,
          ...settings,
        },
        headers: {},
        isDisabled: false,
      });
      return { ...webhook, secret };
    },
    announce: (event: EventRef) => announceToWebhooks(it, event),
    start(over: Partial<DrainPorts> = {}) {
      const { clock, deliveries, due } = it;
      const webhooks = createEndpoints(it.webhooks, it.fetchWebhooks);
      const ports: DrainPorts = {
        clock: { now: clock.now, sleep: (ms) => sleep(ms) },
        random: () => 0.5,
        retryDelaysMs: [10, 10, 10],
        buildPayload: async ({ type, subject, sequence }) => JSON.stringify({ type, subject, sequence }),
        post: sender.post,
        webhooks,
        deliveries,
        lanes: createLanes({
          max: 20,
          slowAfterMs: slowAnswerMs,
          crowdedAfterMs: crowdedAnswerMs,
          placesInTurn,
          after(ms, call) {
            const timer = setTimeout(call, ms);
            return () => clearTimeout(timer);
          },
        }),
        beats: { leave: createBeat(leaveBeatMs, sleep), record: createBeat(recordBeatMs, sleep) },
        async announce(event) {
          it.told.push(event);
          await announceToWebhooks(it, { ...event, sequence: null });
        },
        onDelivered: (delivery) =>
          acknowledgeMessage(
            { webhooks, awaited: it.awaited, acknowledge: async (_tenant, { id }) => it.acknowledged.push(id) },
            delivery,
          ),
        uniqueId: randomUUID,
        logger,
        ...over,
      };
      const dispatcher = startDispatcher({
        due,
        drain: (ref, signal) => drainWebhook(ports, ref, signal),
        clock: { now: clock.now, sleep: async (ms, signal) => sleep(ms, undefined, { signal }) },
        isStorageAway: isRedisUnavailable,
        logger,
      });
      cleanups.push(() => dispatcher.close(5_000));
      return dispatcher;
    },
    async until(webhook: WebhookRef, event: EventRef, state: Delivery['state']) {
      const options = { timeout: WAIT_MS, interval: 20 };
      await expect.poll(async () => (await find(webhook, event))?.state, options).toBe(state);
      return (await find(webhook, event))!;
    },
    async untilTried(webhook: WebhookRef, event: EventRef, attempts: number) {
      const options = { timeout: WAIT_MS, interval: 20 };
      await expect.poll(async () => (await find(webhook, event))?.attempts.length, options).toBe(attempts);
      return (await find(webhook, event))!;
    },
  });
}
