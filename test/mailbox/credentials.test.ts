import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCredentialStore } from '../../src/mailbox/credentials.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { fetchKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const PASSWORD = 'correct horse battery staple';
const CREDENTIALS = { type: 'password', password: PASSWORD } as const;
const OWNER = { tenant: 'default', id: 'fch_1' };
const KEY = fetchKeys('default', 'fch_1').credentials;
const masterKeys = `k1:${randomBytes(32).toString('base64')}`;
const unavailable = expect.objectContaining({ code: 'credentials_unavailable' }) as Error;

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const createStore = (ttlMs: number, keys = masterKeys) => createCredentialStore(redis, createSealer(keys), ttlMs);

test('a password is sealed at rest, under the TTL, and opened for its own fetch', async () => {
  const store = createStore(60_000);
  await store.put(OWNER, CREDENTIALS);
  expect(await store.open(OWNER)).toEqual(CREDENTIALS);
  const ttlMs = await redis.pttl(KEY);
  expect(ttlMs).toBeGreaterThan(50_000);
  expect(ttlMs).toBeLessThanOrEqual(60_000);
  const held = (await redis.get(KEY)) ?? '';
  for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const) {
    expect(held).not.toContain(Buffer.from(PASSWORD).toString(encoding).slice(0, 12));
  }
});

test('sealed credentials that are copied to another fetch or tenant do not open there', async () => {
  const store = createStore(60_000);
  await store.put(OWNER, CREDENTIALS);
  for (const other of [
    { tenant: 'default', id: 'fch_2' },
    { tenant: 'other', id: 'fch_1' },
  ]) {
    await redis.copy(KEY, fetchKeys(other.tenant, other.id).credentials);
    await expect(store.open(other)).rejects.toThrow(unavailable);
  }
});

test('they are replaced by those who know them, under the same TTL, and by nobody else', async () => {
  const [known, rotated] = ['known', 'rotated'].map((password) => ({ type: 'password', password }) as const);
  const store = createStore(60_000);
  await store.put(OWNER, known!);
  expect(await store.replace(OWNER, rotated!, CREDENTIALS)).toBe(false);
  expect(await store.replace(OWNER, known!, rotated!)).toBe(true);
  expect(await store.open(OWNER)).toEqual(rotated);
  expect(await redis.pttl(KEY)).toBeGreaterThan(50_000);
  await store.delete(OWNER);
  expect(await store.replace(OWNER, rotated!, known!)).toBe(false);
});

test('expired, deleted and never given credentials are credentials_unavailable', async () => {
  const store = createStore(1);
  await store.put(OWNER, CREDENTIALS);
  await expect.poll(() => redis.exists(KEY), { interval: 2 }).toBe(0);
  await expect(store.open(OWNER)).rejects.toThrow(unavailable);
  await createStore(60_000).put(OWNER, CREDENTIALS);
  await store.delete(OWNER);
  await store.delete(OWNER);
  await expect(store.open(OWNER)).rejects.toThrow(unavailable);
});

test('credentials whose master key is gone are credentials_unavailable, and the error holds no secret', async () => {
  await createStore(60_000).put(OWNER, CREDENTIALS);
  const opened = createStore(60_000, `k2:${randomBytes(32).toString('base64')}`).open(OWNER);
  await expect(opened).rejects.toThrow(unavailable);
  await expect(opened).rejects.toThrow('"k1"');
  await expect(opened).rejects.not.toThrow(PASSWORD);
});
