import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FetchRef } from '../../src/fetch/fetch.ts';
import { asideMsMax, asideMsMin, asideSpacingMs, busyWaitMsMax, waitingTenantsMs } from '../../src/fetch/limits.ts';
import { createFetchQueue, FETCH_QUEUE, type FetchQueue } from '../../src/fetch/queue.ts';
import { createTenantShare, type TenantShare } from '../../src/fetch/tenant-share.ts';
import { readWaitingTenants } from '../../src/fetch/waiting-tenants.ts';
import { createFetchWorker } from '../../src/fetch/worker.ts';
import { openBlockingRedis, openRedis } from '../../src/redis/connection.ts';
import { queuePrefix } from '../../src/redis/keys.ts';
import { startRedis } from '../support/redis.ts';

const WAIT_MS = 20_000;

describe('the share of a tenant', () => {
  let waiting: string[];
  let reads: number;
  let nowMs: number;
  beforeEach(() => {
    waiting = [];
    reads = 0;
    nowMs = 1_000_000;
  });

  function shareOf(capacity: number): TenantShare {
    return createTenantShare({
      capacity,
      async waitingTenants() {
        reads += 1;
        return new Set(waiting);
      },
      clock: { now: () => nowMs },
    });
  }

  /** As many as are let in, at most `count`; what they were let in with, to leave. */
  async function enter(share: TenantShare, tenant: string, count: number): Promise<(() => void)[]> {
    const leaves: (() => void)[] = [];
    for (let number = 0; number < count; number += 1) {
      const place = await share.enter(tenant, 0);
      if ('leave' in place) leaves.push(place.leave);
    }
    return leaves;
  }
  const look = (tenants: string[]): void => {
    waiting = tenants;
    nowMs += waitingTenantsMs;
  };

  test('is all of the worker while nobody else waits, and an equal part of it while others do', async () => {
    const share = shareOf(20);
    look(['a', 'a']);
    const places = await enter(share, 'a', 20);
    expect(places).toHaveLength(20);
    look(['a', 'b']);
    for (const leave of places.splice(0, 8)) leave();
    expect(await enter(share, 'a', 3), 'a still has 12').toHaveLength(0);
    expect(await enter(share, 'b', 20)).toHaveLength(10);
    for (const leave of places.splice(0, 5)) leave();
    expect(await enter(share, 'a', 5)).toHaveLength(3);
    look(['a', 'b', 'c']);
    expect(await enter(share, 'c', 20), 'a third').toHaveLength(7);
  });

  test('is all of it again once the others do not wait any more', async () => {
    const share = shareOf(4);
    look(['a', 'b']);
    expect(await enter(share, 'a', 4)).toHaveLength(2);
    look(['a']);
    nowMs += asideMsMax;
    expect(await enter(share, 'a', 2)).toHaveLength(2);
  });

  test('counts those who were sent aside among those who wait, for as long as they are away', async () => {
    const share = shareOf(4);
    look(['a', 'b']);
    const places = await enter(share, 'b', 12);
    expect(places, 'the others were sent aside').toHaveLength(2);
    for (const leave of places) leave();
    look(['a']);
    expect(await enter(share, 'a', 4)).toHaveLength(2);
  });

  test.each([1, 2, 3, 7])('leaves no place of %i empty while any of three tenants waits', async (capacity) => {
    const share = shareOf(capacity);
    look(['a', 'b', 'c']);
    let running = 0;
    for (let round = 0; round < capacity; round += 1) {
      for (const tenant of ['a', 'b', 'c']) running += (await enter(share, tenant, 1)).length;
    }
    expect(running).toBeGreaterThanOrEqual(capacity);
  });

  test('with a single place goes round', async () => {
    const share = shareOf(1);
    look(['a', 'b']);
    const order: string[] = [];
    for (const tenant of ['a', 'a', 'a', 'b', 'b', 'a']) {
      for (const leave of await enter(share, tenant, 1)) {
        order.push(tenant);
        leave();
      }
    }
    expect(order).toEqual(['a', 'b', 'a']);
  });

  test('is looked up once for many jobs, and again where that failed', async () => {
    const share = shareOf(100);
    await enter(share, 'a', 50);
    expect(reads).toBe(1);
    let isAway = true;
    const failing = createTenantShare({
      capacity: 1,
      waitingTenants: async () => {
        if (isAway) throw new Error('away');
        return new Set(['a']);
      },
      clock: { now: () => nowMs },
    });
    await enter(failing, 'a', 1);
    await expect(failing.enter('a', 0)).rejects.toThrow('away');
    isAway = false;
    expect(await enter(failing, 'a', 1)).toHaveLength(1);
  });

  test('sends those who step aside back one after the other, later the longer they have waited, and never for long', async () => {
    const share = shareOf(2);
    look(['a', 'b']);
    await enter(share, 'a', 1);
    const waits: number[] = [];
    for (let number = 0; number < 10_000; number += 1) {
      const place = await share.enter('a', 0);
      if ('leave' in place) expect.fail('let in');
      waits.push(place.retryAfterMs);
    }
    expect(waits.slice(0, 3)).toEqual([0, 1, 2].map((place) => asideMsMin + place * asideSpacingMs));
    expect(Math.max(...waits)).toBe(asideMsMax);
    const old = await share.enter('a', 24 * 60 * 60 * 1000);
    expect('retryAfterMs' in old && old.retryAfterMs).toBe(busyWaitMsMax);
  });
});

describe('a worker on a real queue', () => {
  const logger = pino({ level: 'silent' });
  let redis: Redis;
  let address: string;
  let queue: FetchQueue;
  let cleanups: (() => unknown)[];

  beforeEach(async () => {
    cleanups = [];
    const server = await startRedis();
    address = server.url;
    cleanups.push(() => server.close());
    redis = openRedis(address, logger);
    await redis.connect();
    cleanups.push(() => redis.disconnect());
    queue = await createFetchQueue(redis, openBlocking(), logger);
    cleanups.push(() => queue.close());
  });
  afterEach(async () => {
    for (const cleanup of cleanups.toReversed()) await cleanup();
  });

  function openBlocking(): Redis {
    const blocking = openBlockingRedis(address, logger);
    cleanups.push(() => blocking.disconnect());
    return blocking;
  }

  async function addMany(tenant: string, count: number): Promise<void> {
    const bulk = new Queue(FETCH_QUEUE, { connection: redis, prefix: queuePrefix(FETCH_QUEUE) });
    const ids = Array.from({ length: count }, (_, number) => `fch_${number}`);
    await bulk.addBulk(ids.map((id) => ({ name: 'fetch', data: { tenant, id }, opts: { jobId: `${tenant}/${id}` } })));
  }

  async function startWorker(run: (ref: FetchRef) => Promise<void>, concurrency = 4): Promise<void> {
    const worker = await createFetchWorker<FetchRef>({
      queues: [FETCH_QUEUE],
      blocking: openBlocking(),
      concurrency,
      run: async (ref) => {
        await run(ref);
        return null;
      },
      abandon: async () => undefined,
      clock: { now: () => Date.now() },
      logger,
    });
    cleanups.push(() => worker.close(1_000));
  }

  test('who waits is read off the queue, also where one of many is last', async () => {
    await addMany('default', 300);
    await queue.add({ tenant: 'b/c', id: 'fch_1' });
    expect(await readWaitingTenants(redis, FETCH_QUEUE)).toEqual(new Set(['default', 'b/c']));
  });

  test('one fetch of a tenant comes before the two hundred of another that came first have ended', async () => {
    await addMany('a', 200);
    await queue.add({ tenant: 'b', id: 'fch_b' });
    const order: string[] = [];
    const running: (() => void)[] = [];
    await startWorker(async ({ tenant }) => {
      order.push(tenant);
      const { promise, resolve } = Promise.withResolvers<void>();
      running.push(resolve);
      await promise;
    });
    // The first is let in before anybody is seen to wait; then half of the four places.
    await expect.poll(() => order.includes('b'), { timeout: WAIT_MS, interval: 10 }).toBe(true);
    expect(order.filter((tenant) => tenant === 'a').length, 'none of a has ended').toBeLessThanOrEqual(2);

    // Nobody else waits any more: a has all of it.
    const isFull = (): boolean => order.length >= 5;
    running[order.indexOf('b')]?.();
    await expect.poll(isFull, { timeout: WAIT_MS, interval: 10 }).toBe(true);
    expect(order.filter((tenant) => tenant === 'a')).toHaveLength(4);
    for (let done = 0; done < 201; done += 1) {
      await expect.poll(() => running.length > done, { timeout: WAIT_MS, interval: 5 }).toBe(true);
      running[done]?.();
    }
    expect(order).toHaveLength(201);
  });

  test('with a place for a single fetch takes tenants in turn', async () => {
    await addMany('a', 50);
    await addMany('b', 1);
    const order: string[] = [];
    await startWorker(async ({ tenant }) => void order.push(tenant), 1);
    await expect.poll(() => order.length, { timeout: WAIT_MS, interval: 10 }).toBe(51);
    expect(order.indexOf('b')).toBe(1);
  });
});
