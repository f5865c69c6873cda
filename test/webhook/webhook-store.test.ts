import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { openRedis } from '../../src/redis/connection.ts';
import type { Webhook, WebhookSecrets } from '../../src/webhook/webhook.ts';
import { createWebhookStore, type WebhookStore } from '../../src/webhook/webhook-store.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const SECRETS: WebhookSecrets = { secrets: [], ed25519Keys: [], headers: {} };
const disabled = { reason: 'owner', at: '2026-11-28T12:00:00.000Z' } as const;
let server: TestRedis;
let redis: Redis;
/** Of two processes. */
let here: WebhookStore;
let there: WebhookStore;

function webhook(tenant: string, id: string): Webhook {
  const usual = { description: null, events: ['*'], mailboxes: null, payload: 'thin', ratePerSecond: null } as const;
  const limits = { concurrency: 5, isOrdered: false, timeoutMs: 15_000, hasEd25519: false };
  return {
    tenant,
    id,
    settings: { url: 'https://example.com/', ...usual, ...limits },
    headerNames: [],
    publicKey: null,
    secretsValidUntil: [],
    disabled: null,
    createdAt: disabled.at,
    updatedAt: disabled.at,
  };
}

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, pino({ level: 'silent' }));
  await redis.connect();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  const sealer = createSealer(`k1:${randomBytes(32).toString('base64')}`);
  here = createWebhookStore(redis, sealer);
  there = createWebhookStore(redis, sealer);
});

test('what one process creates, changes or deletes, every other lists at once, though it has listed all a moment ago', async () => {
  const ids = async (): Promise<string[]> => (await here.list('one')).map(({ id }) => id);
  expect(await ids()).toEqual([]);
  await there.create(webhook('one', 'b'), SECRETS);
  expect(await ids()).toEqual(['b']);
  await there.create(webhook('one', 'a'), SECRETS);
  expect(await ids()).toEqual(['a', 'b']);
  await there.change(webhook('one', 'a'), async (known) => ({ webhook: { ...known, disabled }, secrets: null }));
  expect((await here.list('one')).map((each) => each.disabled)).toEqual([disabled, null]);
  await there.delete(webhook('one', 'a'));
  expect(await ids()).toEqual(['b']);
  await redis.flushall();
  expect(await ids()).toEqual([]);
});

test('webhooks are read from Redis anew only where some of that tenant have changed', async () => {
  await here.create(webhook('one', 'a'), SECRETS);
  await here.create(webhook('two', 'a'), SECRETS);
  const [one, two] = [await here.list('one'), await here.list('two')];
  await there.change(webhook('two', 'a'), async (known) => ({ webhook: { ...known, disabled }, secrets: null }));
  expect(await here.list('one')).toBe(one);
  expect(await here.list('two')).not.toBe(two);
});

test('for a mailbox those are listed that name it and those that name none, however often it is named', async () => {
  const of = (id: string, mailboxes: string[] | null): Webhook => {
    const made = webhook('one', id);
    return { ...made, settings: { ...made.settings, mailboxes } };
  };
  await here.create(of('a', null), SECRETS);
  await here.create(of('b', ['mbx_1', 'mbx_2', 'mbx_1']), SECRETS);
  await here.create(of('c', ['mbx_2']), SECRETS);
  await here.create(of('d', []), SECRETS);
  const ids = async (mailbox: string | null): Promise<string[]> =>
    (await here.listFor('one', mailbox)).map(({ id }) => id).toSorted();
  expect(await ids('mbx_1')).toEqual(['a', 'b']);
  expect(await ids('mbx_2')).toEqual(['a', 'b', 'c']);
  expect(await ids('mbx_3')).toEqual(['a']);
  expect(await ids(null)).toEqual(['a']);
});
