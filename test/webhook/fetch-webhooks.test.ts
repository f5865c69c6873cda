import { randomBytes } from 'node:crypto';
import { Webhook as Verifier } from 'standardwebhooks';
import { beforeEach, describe, expect, test } from 'vitest';
import { fetchId, webhookOfFetch } from '../../src/identity.ts';
import { createFetchStore } from '../../src/fetch/fetch-store.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { webhookKeys } from '../../src/redis/keys.ts';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { createDeliveryService, type DeliveryService } from '../../src/webhook/delivery-service.ts';
import { createFetchWebhooks } from '../../src/webhook/fetch-webhooks.ts';
import { disabledAfterMs } from '../../src/webhook/limits.ts';
import { createEndpoints, type PayloadForm } from '../../src/webhook/webhook.ts';
import { received, TENANT, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';

const it = useDelivering();
const WAIT_MS = 15_000;
const LIFE_MS = 7 * 24 * 60 * 60 * 1000;
const SECRET = `whsec_${randomBytes(24).toString('base64')}`;
const FETCH = { tenant: TENANT, id: received(1).fetchId! };
const REF = { tenant: TENANT, id: webhookOfFetch(FETCH.id) };
const KEYS = webhookKeys(TENANT, FETCH.id);

const receive = useReceivers();
let answers: number[];
let otherwise: number;
let receiver: WebhookReceiver;
let service: DeliveryService;

beforeEach(async () => {
  [answers, otherwise] = [[], 204];
  receiver = await receive({ answer: () => answers.shift() ?? otherwise });
  await it.fetchWebhooks.register(FETCH, { url: receiver.url, secret: SECRET }, LIFE_MS);
  const webhooks = createEndpoints(it.webhooks, it.fetchWebhooks);
  service = createDeliveryService(it.redis, { clock: it.clock, webhooks, deliveries: it.deliveries, due: it.due });
});

const summarise = async () => (await it.fetchWebhooks.summarise(FETCH))!;
const idsAt = () => receiver.received.map(({ headers }) => headers['webhook-id']);
async function untilCounted(deliveries: { pending: number; delivered: number; failed: number }): Promise<void> {
  const options = { timeout: WAIT_MS, interval: 20 };
  await expect.poll(async () => (await summarise()).deliveries, options).toEqual(deliveries);
}

describe('the webhook of a fetch', () => {
  test('gets the messages of its fetch and nothing else, with texts, signed with the secret that was given, beside webhooks of the tenant', async () => {
    const forms: PayloadForm[] = [];
    const other = await it.make((await receive()).url);
    it.start({
      async buildPayload({ subject }, form) {
        forms.push(form);
        return JSON.stringify({ subject });
      },
    });
    const foreign = { ...received(2), fetchId: `fch_${'2'.repeat(26)}` };
    const { facts: _facts, ...about } = received(3);
    const skipped = {
      ...about,
      type: 'message.skipped',
      facts: { uidl: 'u', reason: 'filter_size', bytes: 1 },
    } as const;
    for (const event of [foreign, skipped, received(1)]) await it.announce(event);
    for (const event of [foreign, skipped, received(1)]) await it.until(other, event, 'delivered');
    await untilCounted({ pending: 0, delivered: 1, failed: 0 });
    expect(receiver.received).toHaveLength(1);
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[0]];
    expect(new Verifier(SECRET).verify(body, headers as Record<string, string>)).toEqual({
      subject: received(1).subject,
    });
    expect(forms.toSorted()).toEqual(['texts', 'thin', 'thin', 'thin']);
    expect(await summarise()).toMatchObject({ id: REF.id, url: receiver.url, lastFailure: null });
  });

  test('is retried by the schedule, every attempt is on record, and what failed last can be seen, also once it is delivered', async () => {
    answers = [500, 302];
    it.start();
    await it.announce(received(1));
    const { id, attempts } = await it.until(REF, received(1), 'delivered');
    expect(attempts.map(({ status }) => status)).toEqual([500, 302, 204]);
    expect(attempts[0]).toMatchObject({ remoteAddress: '127.0.0.1', phases: { tlsMs: null } });
    expect(new Set(idsAt())).toEqual(new Set([received(1).id]));
    expect(await summarise()).toMatchObject({
      deliveries: { pending: 0, delivered: 1, failed: 0 },
      lastFailure: { eventId: received(1).id, at: attempts[1]!.at, attempt: 2, status: 302, nextAttemptAt: null },
    });
    expect(await service.find(TENANT, id)).toMatchObject({ webhookId: REF.id, state: 'delivered' });
    expect((await service.list(REF, {}, null, 10)).items.map((delivery) => delivery.id)).toEqual([id]);
  });

  test('that answers 429 with Retry-After is left alone until then, and says when', async () => {
    otherwise = 429;
    it.start({ retryDelaysMs: [600_000] });
    await it.announce(received(1));
    const { nextAttemptAt } = await it.untilTried(REF, received(1), 1);
    expect(await summarise()).toMatchObject({
      deliveries: { pending: 1 },
      lastFailure: { attempt: 1, status: 429, nextAttemptAt },
    });
    expect((await it.deliveries.readHealth(REF)).pausedUntilMs).toBeGreaterThan(Date.now());
  });

  test('has failed after the last attempt, which is told of; a replay sends it again under the same id', async () => {
    otherwise = 500;
    it.start({ retryDelaysMs: [10] });
    await it.announce(received(1));
    const { id } = await it.until(REF, received(1), 'failed');
    await untilCounted({ pending: 0, delivered: 0, failed: 1 });
    expect((await summarise()).lastFailure).toMatchObject({ attempt: 2, status: 500, nextAttemptAt: null });
    expect(it.told).toMatchObject([{ type: 'delivery.exhausted', facts: { webhookId: REF.id, attempts: 2 } }]);
    otherwise = 204;
    expect(await service.replay(TENANT, id)).toMatchObject({ state: 'pending' });
    await untilCounted({ pending: 0, delivered: 1, failed: 0 });
    expect(new Set(idsAt())).toEqual(new Set([received(1).id]));
    expect(await service.replayMany(REF, { states: ['delivered'] }, null)).toMatchObject({ replayed: 1 });
    await untilCounted({ pending: 0, delivered: 1, failed: 0 });
    expect(receiver.received).toHaveLength(4);
    expect((await summarise()).lastFailure).toMatchObject({ attempt: 2, status: 500 });
  });

  test('a message that was deleted meanwhile ends as failed without a request', async () => {
    it.start({ buildPayload: async () => null });
    await it.announce(received(1));
    await untilCounted({ pending: 0, delivered: 0, failed: 1 });
    expect((await summarise()).lastFailure).toMatchObject({
      attempt: 0,
      status: null,
      detail: expect.stringContaining('deleted') as string,
      nextAttemptAt: null,
    });
    expect(receiver.received).toEqual([]);
  });

  test('counts each delivery once, however often it is announced and by however many workers it is made', async () => {
    it.start();
    it.start();
    const events = Array.from({ length: 20 }, (_, number) => received(number));
    await Promise.all([...events, ...events].map((event) => it.announce(event)));
    await untilCounted({ pending: 0, delivered: 20, failed: 0 });
    await it.announce(received(0));
    await it.announce(received(20));
    await untilCounted({ pending: 0, delivered: 21, failed: 0 });
    expect(receiver.received).toHaveLength(21);
  });

  test('what acknowledges its messages is not this webhook', async () => {
    it.start();
    await it.announce(received(1));
    await it.until(REF, received(1), 'delivered');
    const webhook = await it.make((await receive()).url);
    await it.announce(received(2));
    await Promise.all([it.until(REF, received(2), 'delivered'), it.until(webhook, received(2), 'delivered')]);
    expect(it.acknowledged).toEqual([received(2).subject]);
  });

  test('that is gone gets nothing more: what waits, and what comes, has failed without a request, and no event tells of it', async () => {
    otherwise = 500;
    it.start({ retryDelaysMs: [3_600_000] });
    await it.announce(received(1));
    await it.untilTried(REF, received(1), 1);
    otherwise = 410;
    await it.announce(received(2));
    await untilCounted({ pending: 0, delivered: 0, failed: 2 });
    await it.announce(received(3));
    await untilCounted({ pending: 0, delivered: 0, failed: 3 });
    expect(receiver.received).toHaveLength(2);
    expect((await summarise()).lastFailure).toMatchObject({
      attempt: 0,
      detail: expect.stringContaining('410') as string,
    });
    expect(it.told).toEqual([]);
    await expect(service.replayMany(REF, {}, null)).rejects.toMatchObject({ code: 'conflict' });
  });

  test('that acknowledges nothing for five days is given up, and no event tells of it', async () => {
    otherwise = 500;
    it.start({ retryDelaysMs: Array.from({ length: 50 }, () => 10) });
    await it.announce(received(1));
    await expect
      .poll(async () => (await it.deliveries.readHealth(REF)).failingSinceMs, { timeout: WAIT_MS })
      .not.toBeNull();
    it.clock.aheadMs = disabledAfterMs + 3_600_000;
    await it.due.wake(REF, 0);
    await untilCounted({ pending: 0, delivered: 0, failed: 1 });
    expect(it.told).toEqual([]);
  });

  test('keeps its breaker to itself: others at the same URL do not fare as it does', async () => {
    const other = { tenant: TENANT, id: `fch_${'2'.repeat(26)}` };
    await it.fetchWebhooks.register(other, { url: receiver.url, secret: SECRET }, LIFE_MS);
    const events = Array.from({ length: 30 }, (_, number) => received(number));
    for (const event of events) await it.announce(event);
    otherwise = 500;
    it.start({ retryDelaysMs: Array.from({ length: 50 }, () => 10) });
    await expect
      .poll(async () => (await it.deliveries.readHealth(REF)).openUntilMs, { timeout: WAIT_MS })
      .not.toBeNull();
    otherwise = 204;
    await it.announce({ ...received(100), fetchId: other.id });
    await it.until({ tenant: TENANT, id: webhookOfFetch(other.id) }, received(100), 'delivered');
    expect((await summarise()).deliveries).toEqual({ pending: 30, delivered: 0, failed: 0 });
  });
});

describe('of the webhook of a fetch', () => {
  test('the secret is sealed for this fetch alone, and nothing in Redis shows it', async () => {
    otherwise = 500;
    it.start({ retryDelaysMs: [3_600_000] });
    await it.announce(received(1));
    await it.untilTried(REF, received(1), 1);
    const key = Buffer.from(SECRET.slice(6), 'base64');
    const dumps = await Promise.all((await it.redis.keys('*')).map((name) => it.redis.dumpBuffer(name)));
    expect(dumps.length).toBeGreaterThan(4);
    for (const dump of dumps) {
      expect(dump.includes(key)).toBe(false);
      for (const encoding of ['base64', 'base64url', 'hex'] as const) {
        expect(dump.includes(key.toString(encoding).slice(0, 12))).toBe(false);
      }
    }
    const other = { tenant: TENANT, id: 'fch_2' };
    await it.redis.copy(KEYS.ofFetch, webhookKeys(TENANT, other.id).ofFetch);
    await expect(it.fetchWebhooks.openSecrets({ tenant: TENANT, id: webhookOfFetch(other.id) })).rejects.toMatchObject({
      code: 'credentials_unavailable',
    });
  });

  test('a secret that cannot be opened is a fault of ours: nothing is sent unsigned, and nothing is lost', async () => {
    const sealed = createFetchWebhooks(it.redis, createSealer(`k2:${randomBytes(32).toString('base64')}`));
    const asked = Promise.withResolvers<void>();
    const webhooks = createEndpoints(it.webhooks, {
      ...sealed,
      openSecrets: (ref) => sealed.openSecrets(ref).finally(() => asked.resolve()),
    });
    await it.announce(received(1));
    const dispatcher = it.start({ webhooks });
    await asked.promise;
    await dispatcher.close(5_000);
    expect(receiver.received).toEqual([]);
    expect(await summarise()).toMatchObject({ deliveries: { pending: 1, failed: 0 }, lastFailure: null });
  });

  test('everything expires together, counted anew from each message, and is not there again afterwards', async () => {
    otherwise = 500;
    it.start({ retryDelaysMs: [10] });
    await it.redis.pexpire(KEYS.ofFetch, 60_000);
    await it.announce(received(1));
    await it.until(REF, received(1), 'failed');
    await service.replay(TENANT, (await it.deliveries.find(REF, received(1).id))!.id);
    await it.announce(received(2));
    await it.until(REF, received(2), 'failed');
    await untilCounted({ pending: 0, delivered: 0, failed: 2 });
    const { drainer: _drainer, ...lasting } = KEYS;
    const there = (await it.redis.keys(`${KEYS.ofFetch.replace(/webhook$/, '')}*`)).filter(
      (key) => key !== KEYS.drainer,
    );
    expect(there.toSorted()).toEqual([lasting.deliveries, lasting.health, lasting.log, lasting.ofFetch].toSorted());
    for (const key of there) {
      const ttlMs = await it.redis.pttl(key);
      expect([key, ttlMs > LIFE_MS - 60_000 && ttlMs <= LIFE_MS]).toEqual([key, true]);
    }
    await it.redis.unlink(...there);
    await it.announce(received(3));
    await it.fetchWebhooks.disable(REF, { reason: 'gone', at: '2026-11-23T12:00:00.000Z' });
    expect(await it.redis.keys('*fch_*')).toEqual([]);
  });

  test('nothing is left when the fetch is deleted, be it during an attempt, and nothing more is sent', async () => {
    const asked = Promise.withResolvers<void>();
    const deleted = Promise.withResolvers<void>();
    it.start({
      async post() {
        asked.resolve();
        await deleted.promise;
        return {
          status: 500,
          detail: '',
          retryAfter: null,
          remoteAddress: null,
          phases: { dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null, totalMs: 1 },
        };
      },
    });
    await it.announce(received(1));
    await asked.promise;
    await createFetchStore(it.redis).delete(FETCH);
    expect(await it.fetchWebhooks.summarise(FETCH)).toBeNull();
    expect(await service.list(REF, {}, null, 10)).toEqual({ items: [], next: null });
    deleted.resolve();
    await it.announce(received(2));
    await it.due.wake(REF, 0);
    await expect.poll(() => it.redis.keys('*'), { timeout: WAIT_MS }).toEqual([]);
  });

  test('none of another tenant, or fetch, is found', async () => {
    expect(await it.fetchWebhooks.find({ ...REF, tenant: 'other' })).toBeNull();
    expect(await it.fetchWebhooks.summarise({ ...FETCH, tenant: 'other' })).toBeNull();
    expect(await it.fetchWebhooks.openSecrets({ tenant: TENANT, id: webhookOfFetch('fch_2') })).toBeNull();
    expect(await it.webhooks.list(TENANT)).toEqual([]);
    expect(await it.webhooks.find(REF)).toBeNull();
  });
});

test('a thousand fetches with a message each that nobody acknowledges cost less than 2 KiB each', async () => {
  const COUNT = 1_000;
  const fetches = Array.from({ length: COUNT }, () => ({ tenant: TENANT, id: fetchId(Date.now(), randomBytes) }));
  const webhook = { url: 'http://127.0.0.1:9/hooks/of/a/customer', secret: SECRET };
  await Promise.all(fetches.map((fetch) => it.fetchWebhooks.register(fetch, webhook, LIFE_MS)));
  await Promise.all(fetches.map(({ id }, number) => it.announce({ ...received(number), fetchId: id })));
  await it.redis.unlink(KEYS.ofFetch);
  const keys = await it.redis.keys('*');
  expect(keys.length).toBeGreaterThan(4 * COUNT);
  const bytes = await Promise.all(keys.map((key) => it.redis.memory('USAGE', key, 'SAMPLES', 0)));
  const each = bytes.reduce<number>((sum, size) => sum + (size ?? 0), 0) / COUNT;
  expect(each).toBeGreaterThan(500);
  expect(each).toBeLessThan(2048);
});
