import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createLeases, type Lease, type Leases } from '../../src/fetch/lease.ts';
import { heartbeatMs, leaseTtlMs } from '../../src/fetch/limits.ts';
import { leaseKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const KEYS = leaseKeys('default', 'mbx_1');

let server: TestRedis;
let redis: Redis;
let leases: Leases;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  leases = createLeases(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(() => redis.flushall());

async function acquire(owner: string): Promise<Lease> {
  const lease = await leases.acquire('default', 'mbx_1', owner);
  if (!lease) expect.fail(`${owner} was refused`);
  return lease;
}

/** As if its time were over. */
async function expire(): Promise<void> {
  await redis.pexpire(KEYS.owner, 1);
  await expect.poll(() => redis.exists(KEYS.owner), { interval: 2 }).toBe(0);
}

test('one holder at a time, of many who ask at once', async () => {
  const asked = Array.from({ length: 50 }, (_, number) => leases.acquire('default', 'mbx_1', `owner-${number}`));
  expect((await Promise.all(asked)).filter((lease) => lease !== null)).toHaveLength(1);
});

test('another maildrop, and the same name with another tenant, is another lease', async () => {
  await acquire('a');
  expect(await leases.acquire('default', 'mbx_2', 'b')).not.toBeNull();
  expect(await leases.acquire('other', 'mbx_1', 'c')).not.toBeNull();
});

test('a holder who dies is waited for no longer than the lease lives, and a living one renews it in time', async () => {
  const lease = await acquire('a');
  expect(await redis.pttl(KEYS.owner)).toBeGreaterThan(leaseTtlMs - 1_000);
  expect(await redis.pttl(KEYS.owner)).toBeLessThanOrEqual(leaseTtlMs);
  await redis.pexpire(KEYS.owner, 1_000);
  expect(await lease.renew()).toBe(true);
  expect(await redis.pttl(KEYS.owner)).toBeGreaterThan(leaseTtlMs - 1_000);
  expect(heartbeatMs * 5).toBeLessThan(leaseTtlMs);
});

test('a released lease is free at once, and may be released twice', async () => {
  const lease = await acquire('a');
  await lease.release();
  await lease.release();
  expect(await lease.renew()).toBe(false);
  await acquire('b');
});

test('a holder whose time was over neither renews nor releases what is another’s by now', async () => {
  const late = await acquire('a');
  await expire();
  expect(await late.renew()).toBe(false);
  const current = await acquire('b');
  expect(await late.renew()).toBe(false);
  await late.release();
  expect(await current.renew()).toBe(true);
  expect(await leases.acquire('default', 'mbx_1', 'c')).toBeNull();
});

test('who is refused changes nothing: the holder keeps its lease and its token stays the latest', async () => {
  const lease = await acquire('a');
  const fence = await redis.get(KEYS.fence);
  await redis.pexpire(KEYS.owner, 5_000);
  expect(await leases.acquire('default', 'mbx_1', 'b')).toBeNull();
  expect(await redis.pttl(KEYS.owner)).toBeLessThanOrEqual(5_000);
  expect(await redis.get(KEYS.fence)).toBe(fence);
  expect(fence).toBe(String(lease.token));
});

test('fencing tokens rise over releases, expiries and the loss of all that is known of them', async () => {
  const tokens: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const lease = await acquire(`released-${round}`);
    tokens.push(lease.token);
    await lease.release();
  }
  for (let round = 0; round < 3; round += 1) {
    tokens.push((await acquire(`expired-${round}`)).token);
    await expire();
  }
  await redis.flushall();
  tokens.push((await acquire('after the loss')).token);
  expect(tokens).toEqual([...new Set(tokens)].toSorted((a, b) => a - b));
  expect(tokens.every(Number.isSafeInteger)).toBe(true);
});

test('tokens rise even where the clock of the server has gone back', async () => {
  const ahead = 2 ** 52;
  await redis.set(KEYS.fence, String(ahead));
  expect((await acquire('a')).token).toBe(ahead + 1);
});

test('nothing is left of a maildrop that nobody asks for any more', async () => {
  await acquire('a');
  for (const key of Object.values(KEYS)) expect(await redis.pttl(key)).toBeGreaterThan(0);
});
