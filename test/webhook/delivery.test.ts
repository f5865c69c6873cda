import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { fetchKeys } from '../../src/redis/keys.ts';
import { abandonDelivery, attemptDelivery, type DeliveryPorts } from '../../src/webhook/delivery.ts';
import { attemptsMax, jitterRatio, retryDelaysMs, subscriptionTtlMs } from '../../src/webhook/limits.ts';
import { createSubscriptionStore, type SubscriptionStore } from '../../src/webhook/subscription-store.ts';
import { received } from '../support/events.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const SECRET = `whsec_${randomBytes(24).toString('base64')}`;
const URL = 'https://hook.example.com/in';
const REF = { tenant: 'default', id: 'fch_1' };
const KEYS = fetchKeys('default', 'fch_1');
const EVENT = received('msg_1');
const PAYLOAD = '{"type":"message.received"}';
const masterKeys = `k1:${randomBytes(32).toString('base64')}`;

type Answer = Awaited<ReturnType<DeliveryPorts['post']>>;

interface Sent {
  url: string;
  headers: Record<string, string>;
  body: string;
}

let server: TestRedis;
let redis: Redis;
let subscriptions: SubscriptionStore;
let sent: Sent[];

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  sent = [];
  subscriptions = createSubscriptionStore(redis, createSealer(masterKeys));
  await subscriptions.register(REF, { url: URL, secret: SECRET });
  await subscriptions.begin(REF, EVENT.id);
});

function makePorts(answer: Answer | (() => Promise<Answer>), over: Partial<DeliveryPorts> = {}): DeliveryPorts {
  return {
    clock: { now: () => Date.now() },
    random: () => 0.5,
    subscriptions,
    buildPayload: async () => PAYLOAD,
    async post(url, headers, body) {
      sent.push({ url, headers, body: body.toString() });
      return typeof answer === 'function' ? answer() : answer;
    },
    ...over,
  };
}

const stateOf = () => subscriptions.stateOf(REF, EVENT.id);
const summarise = async () => (await subscriptions.summarise(REF))!;

describe('one attempt', () => {
  test('posts the payload, signed for the time of the attempt, under the id of the event', async () => {
    await attemptDelivery(makePorts({ status: 500, detail: '', retryAfter: null }), EVENT, 1);
    await attemptDelivery(makePorts({ status: 200, detail: '', retryAfter: null }), EVENT, 2);
    expect(sent.map(({ url, body }) => ({ url, body }))).toEqual([
      { url: URL, body: PAYLOAD },
      { url: URL, body: PAYLOAD },
    ]);
    for (const { headers, body } of sent) {
      expect(headers['webhook-id']).toBe(EVENT.id);
      expect(new Webhook(SECRET).verify(body, headers)).toEqual(JSON.parse(PAYLOAD));
    }
  });

  test.each([200, 201, 202, 204, 299])('%i: delivered', async (status) => {
    expect(await attemptDelivery(makePorts({ status, detail: 'ok', retryAfter: null }), EVENT, 1)).toBeNull();
    expect(await stateOf()).toBe('delivered');
    expect(await summarise()).toEqual({
      url: URL,
      deliveries: { pending: 0, delivered: 1, failed: 0 },
      lastFailure: null,
    });
  });

  test.each([100, 199, 300, 301, 304, 308, 400, 401, 404, 409, 429, 500, 502, 503, null])(
    '%s: due again, and the failure is told',
    async (status) => {
      const nowMs = Date.parse('2026-11-23T12:00:00.000Z');
      const ports = makePorts({ status, detail: 'busy', retryAfter: null }, { clock: { now: () => nowMs } });
      expect(await attemptDelivery(ports, EVENT, 2)).toEqual({ delayMs: retryDelaysMs[1] });
      expect(await stateOf()).toBe('pending');
      expect(await summarise()).toEqual({
        url: URL,
        deliveries: { pending: 1, delivered: 0, failed: 0 },
        lastFailure: {
          eventId: EVENT.id,
          at: '2026-11-23T12:00:00.000Z',
          attempt: 2,
          status,
          detail: 'busy',
          nextAttemptAt: '2026-11-23T12:05:00.000Z',
        },
      });
    },
  );

  test('410 Gone: failed for good at the first attempt', async () => {
    expect(await attemptDelivery(makePorts({ status: 410, detail: 'gone', retryAfter: null }), EVENT, 1)).toBeNull();
    expect(await summarise()).toMatchObject({
      deliveries: { pending: 0, delivered: 0, failed: 1 },
      lastFailure: { attempt: 1, status: 410, nextAttemptAt: null },
    });
  });

  test('a message that was deleted meanwhile ends the delivery without a request', async () => {
    const ports = makePorts({ status: 200, detail: '', retryAfter: null }, { buildPayload: async () => null });
    expect(await attemptDelivery(ports, EVENT, 1)).toBeNull();
    expect(sent).toEqual([]);
    expect(await summarise()).toMatchObject({
      deliveries: { pending: 0, failed: 1 },
      lastFailure: { status: null, detail: expect.stringContaining('deleted') as unknown, nextAttemptAt: null },
    });
  });

  test('what has been delivered, or has no webhook any more, is not sent again', async () => {
    await attemptDelivery(makePorts({ status: 200, detail: '', retryAfter: null }), EVENT, 1);
    expect(await attemptDelivery(makePorts({ status: 200, detail: '', retryAfter: null }), EVENT, 2)).toBeNull();
    expect(sent).toHaveLength(1);
    await redis.flushall();
    expect(await attemptDelivery(makePorts({ status: 200, detail: '', retryAfter: null }), EVENT, 1)).toBeNull();
    expect(sent).toHaveLength(1);
  });

  test('a worker that dies between sending and recording sends again, under the same id', async () => {
    const dying = makePorts({ status: 200, detail: '', retryAfter: null });
    const settle = async (): Promise<void> => {
      throw new Error('killed');
    };
    await expect(attemptDelivery({ ...dying, subscriptions: { ...subscriptions, settle } }, EVENT, 1)).rejects.toThrow(
      'killed',
    );
    expect(await stateOf()).toBe('pending');
    await attemptDelivery(makePorts({ status: 200, detail: '', retryAfter: null }), EVENT, 1);
    expect(sent.map(({ headers }) => headers['webhook-id'])).toEqual([EVENT.id, EVENT.id]);
    expect((await summarise()).deliveries).toEqual({ pending: 0, delivered: 1, failed: 0 });
  });

  test.each([
    ['the payload cannot be read', { buildPayload: () => Promise.reject(new Error('our fault')) }],
    ['the request cannot be made', { post: () => Promise.reject(new Error('our fault')) }],
  ])('a fault of ours is thrown, and leaves the delivery as it was: %s', async (_what, over) => {
    await expect(
      attemptDelivery(makePorts({ status: 200, detail: '', retryAfter: null }, over), EVENT, 1),
    ).rejects.toThrow('our fault');
    expect(await summarise()).toMatchObject({ deliveries: { pending: 1, failed: 0 }, lastFailure: null });
  });

  test('a secret that cannot be opened is a fault of ours, and nothing is sent unsigned', async () => {
    const other = createSubscriptionStore(redis, createSealer(`k2:${randomBytes(32).toString('base64')}`));
    const attempt = attemptDelivery(
      makePorts({ status: 200, detail: '', retryAfter: null }, { subscriptions: other }),
      EVENT,
      1,
    );
    await expect(attempt).rejects.toMatchObject({ code: 'credentials_unavailable' });
    expect(sent).toEqual([]);
    expect(await stateOf()).toBe('pending');
  });

  test('a fetch that is deleted during an attempt stays deleted', async () => {
    const ports = makePorts(async () => {
      await redis.flushall();
      return { status: 500, detail: '', retryAfter: null };
    });
    await attemptDelivery(ports, EVENT, 1);
    expect(await redis.keys('*')).toEqual([]);
  });
});

describe('the schedule', () => {
  test('is ten attempts over three days, each pause within its jitter, and then the delivery has failed', async () => {
    const delays: number[][] = [];
    for (const random of [0, 0.5, 0.999_999]) {
      const delaysMs: number[] = [];
      await redis.flushall();
      await subscriptions.register(REF, { url: URL, secret: SECRET });
      await subscriptions.begin(REF, EVENT.id);
      for (let attempt = 1; ; attempt += 1) {
        const next = await attemptDelivery(
          makePorts({ status: 503, detail: '', retryAfter: null }, { random: () => random }),
          EVENT,
          attempt,
        );
        if (!next) break;
        delaysMs.push(next.delayMs);
      }
      delays.push(delaysMs);
      expect(await stateOf()).toBe('failed');
      expect((await summarise()).lastFailure).toMatchObject({ attempt: attemptsMax, nextAttemptAt: null });
    }
    const [low, middle, high] = delays as [number[], number[], number[]];
    expect(middle).toEqual(retryDelaysMs);
    expect(low).toEqual(retryDelaysMs.map((ms) => Math.round(ms * (1 - jitterRatio))));
    for (const [index, ms] of high.entries()) {
      expect(Math.abs(ms - retryDelaysMs[index]! * (1 + jitterRatio))).toBeLessThan(200);
    }
    expect(attemptsMax).toBe(10);
  });

  test('ends before what it needs has expired', () => {
    const longestMs = retryDelaysMs.reduce((sum, ms) => sum + ms * (1 + jitterRatio), 0);
    expect(longestMs).toBeLessThan(subscriptionTtlMs);
  });
});

describe('a delivery that the queue gave up', () => {
  test('has failed, and says so', async () => {
    await abandonDelivery({ clock: { now: () => Date.now() }, subscriptions }, EVENT, 3);
    expect(await summarise()).toMatchObject({
      deliveries: { pending: 0, failed: 1 },
      lastFailure: { attempt: 3, status: null, nextAttemptAt: null },
    });
  });

  test('stays delivered where it was', async () => {
    await subscriptions.settle(REF, EVENT.id, 'delivered');
    await abandonDelivery({ clock: { now: () => Date.now() }, subscriptions }, EVENT, 1);
    expect(await summarise()).toMatchObject({ deliveries: { delivered: 1, failed: 0 }, lastFailure: null });
  });
});

describe('the webhook of a fetch', () => {
  test('has its secret sealed at rest, for this fetch alone, and everything under a TTL', async () => {
    const held = await redis.hgetall(KEYS.webhook);
    const secretBytes = Buffer.from(SECRET.slice(6), 'base64');
    for (const encoding of ['base64', 'base64url', 'hex'] as const) {
      expect(JSON.stringify(held)).not.toContain(secretBytes.toString(encoding).slice(0, 12));
    }
    expect(await subscriptions.find(REF)).toEqual({ url: URL, secret: SECRET });
    await redis.copy(KEYS.webhook, fetchKeys('default', 'fch_2').webhook);
    await expect(subscriptions.find({ ...REF, id: 'fch_2' })).rejects.toMatchObject({
      code: 'credentials_unavailable',
    });
    for (const key of [KEYS.webhook, KEYS.deliveries]) {
      const ttlMs = await redis.pttl(key);
      expect(ttlMs).toBeGreaterThan(subscriptionTtlMs - 60_000);
      expect(ttlMs).toBeLessThanOrEqual(subscriptionTtlMs);
    }
  });

  test('counts each delivery once, however often it is begun or settled', async () => {
    await subscriptions.begin(REF, 'evt_2');
    await subscriptions.begin(REF, 'evt_2');
    expect((await summarise()).deliveries).toEqual({ pending: 2, delivered: 0, failed: 0 });
    await subscriptions.settle(REF, 'evt_2', 'failed');
    await subscriptions.settle(REF, 'evt_2', 'delivered');
    await subscriptions.settle(REF, 'evt_3', 'delivered');
    expect((await summarise()).deliveries).toEqual({ pending: 1, delivered: 0, failed: 1 });
    expect(await subscriptions.begin(REF, 'evt_2')).toBe('failed');
  });

  test('is nothing at all where none was registered', async () => {
    const other = { tenant: 'default', id: 'fch_none' };
    expect(await subscriptions.begin(other, EVENT.id)).toBeNull();
    expect(await subscriptions.find(other)).toBeNull();
    expect(await subscriptions.summarise(other)).toBeNull();
    expect(await subscriptions.stateOf({ ...REF, tenant: 'other' }, EVENT.id)).toBeNull();
  });
});
