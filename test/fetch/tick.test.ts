import type { Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDueIndex, type DueIndex, type DueMailbox } from '../../src/fetch/due-index.ts';
import { claimMailboxesMax, claimMs, mailboxShards, queueJobsMax } from '../../src/fetch/limits.ts';
import { shardOf } from '../../src/fetch/shard.ts';
import type { MailboxRef } from '../../src/mailbox/mailbox.ts';
import { startTicker, tickOnce, type TickPorts } from '../../src/fetch/tick.ts';
import { isRedisUnavailable, openRedis } from '../../src/redis/connection.ts';
import { dueKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const START = Date.parse('2026-03-10T09:30:00Z');
const SHARD = 3;
const WAIT_MS = 20_000;
const logger = pino({ level: 'silent' });
const never = new AbortController().signal;

let server: TestRedis;
let redis: Redis;
let due: DueIndex;
let nowMs: number;
/** What the queues were given, in order; and how many jobs are said to wait in each. */
let added: DueMailbox[];
let waiting: number;
let cleanups: (() => unknown)[];

beforeEach(async () => {
  cleanups = [];
  added = [];
  waiting = 0;
  nowMs = START;
  server = await startRedis();
  cleanups.push(() => server.close());
  redis = await connect();
  due = createDueIndex(redis);
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

async function connect(): Promise<Redis> {
  const client = openRedis(server.url, logger);
  await client.connect();
  cleanups.push(() => client.disconnect());
  return client;
}

function portsOf(owner: string, over: Partial<TickPorts> = {}): TickPorts {
  return {
    due,
    queues: {
      countWaiting: async () => waiting,
      add: async (_, mailboxes) => void added.push(...mailboxes),
    },
    // Its pauses pass fifty times as fast.
    clock: { now: () => nowMs, sleep: (ms, signal) => delay(ms / 50, undefined, { signal }) },
    random: Math.random,
    owner,
    isStorageAway: isRedisUnavailable,
    logger,
    ...over,
  };
}

function start(owner: string, over: Partial<TickPorts> = {}): void {
  const ticker = startTicker(portsOf(owner, over));
  cleanups.push(() => ticker.close());
}

/** One tick of a shard that has rested since the last. */
async function tickAfterRest(owner: string, over: Partial<TickPorts> = {}): Promise<string> {
  await redis.del(dueKeys(SHARD).turn);
  return tickOnce(portsOf(owner, over), SHARD, never);
}

/** Mailboxes that are due, the first of them the longest; of all shards, or of one. */
async function putDue(count: number, shard?: number): Promise<string[]> {
  const refs: MailboxRef[] = [];
  for (let number = 0; refs.length < count; number += 1) {
    const mailbox = `mbx_${number}`;
    if (shard === undefined || shardOf(mailbox) === shard) refs.push({ tenant: 'default', mailbox });
  }
  await Promise.all(refs.map((ref, place) => due.put(ref, START - count + place)));
  return refs.map(({ mailbox }) => mailbox).toSorted();
}

const addedIds = (): string[] => added.map(({ mailbox }) => mailbox).toSorted();

test('all that is due is added, in batches, the longest overdue first, with how late it is', async () => {
  const ids = await putDue(2 * claimMailboxesMax + 10, SHARD);
  const batches: number[] = [];
  const lags: number[] = [];
  const queues: TickPorts['queues'] = {
    countWaiting: async () => 0,
    async add(shard, mailboxes) {
      expect(shard).toBe(SHARD);
      batches.push(mailboxes.length);
      added.push(...mailboxes);
    },
  };
  expect(await tickOnce(portsOf('a', { queues, observeLag: (lagMs) => lags.push(lagMs) }), SHARD, never)).toBe('done');
  expect(batches).toEqual([claimMailboxesMax, claimMailboxesMax, 10]);
  expect(addedIds()).toEqual(ids);
  expect(lags).toEqual(Array.from(ids, (_, place) => ids.length - place));
});

test('a queue that is long enough gets no more, and what is due stays due', async () => {
  await putDue(20, SHARD);
  waiting = queueJobsMax;
  expect(await tickAfterRest('a')).toBe('full');
  waiting = queueJobsMax + 100;
  expect(await tickAfterRest('a')).toBe('full');
  expect(added).toEqual([]);
  waiting = queueJobsMax - 5;
  expect(await tickAfterRest('a')).toBe('full');
  expect(added.map(({ dueMs }) => dueMs)).toEqual([20, 19, 18, 17, 16].map((late) => START - late));
  waiting = 0;
  expect(await tickAfterRest('a')).toBe('done');
  expect(added).toHaveLength(20);
});

test('where nothing is due, no turn is taken and no queue is asked', async () => {
  const asked: number[] = [];
  const queues: TickPorts['queues'] = { countWaiting: async (shard) => asked.push(shard), add: async () => undefined };
  await putDue(1, SHARD);
  nowMs = START - 2;
  expect(await tickOnce(portsOf('a', { queues }), SHARD, never)).toBe('done');
  expect(asked).toEqual([]);
  expect(await due.takeTurn(SHARD, 'b')).toBe(true);
});

test('tickers that race hand each due mailbox out once', async () => {
  const ids = await putDue(3_000);
  // Without turns, which would keep them apart: claims alone must be enough.
  const racing = async (owner: string): Promise<void> => {
    const index = createDueIndex(await connect());
    start(owner, { due: { ...index, takeTurn: async () => true } });
  };
  await Promise.all(['a', 'b', 'c'].map(racing));
  await expect.poll(() => added.length, { timeout: WAIT_MS, interval: 10 }).toBeGreaterThanOrEqual(ids.length);
  expect(addedIds()).toEqual(ids);
});

test('tickers share the shards: each gets some, and one at a time', async () => {
  const busy = new Set<number>();
  const owners = new Set<string>();
  const overlaps: number[] = [];
  for (const owner of ['a', 'b']) {
    start(owner, {
      due: { ...due, oldest: async () => START },
      queues: {
        async countWaiting(shard) {
          if (busy.has(shard)) overlaps.push(shard);
          busy.add(shard);
          owners.add(owner);
          await redis.ping();
          busy.delete(shard);
          return 0;
        },
        add: async () => undefined,
      },
    });
  }
  await expect.poll(() => owners.size, { timeout: WAIT_MS, interval: 10 }).toBe(2);
  expect(overlaps).toEqual([]);
});

test('a ticker that stands still in its turn is replaced when that runs out', async () => {
  const ids = await putDue(10, SHARD);
  const hung = Promise.withResolvers<number>();
  const stuck = portsOf('dead', { queues: { countWaiting: () => hung.promise, add: async () => undefined } });
  const tick = tickOnce(stuck, SHARD, never);
  await expect.poll(() => redis.get(dueKeys(SHARD).turn), { interval: 5 }).toBe('dead');
  expect(await tickOnce(portsOf('next'), SHARD, never)).toBe('not our turn');
  expect(added).toEqual([]);
  await redis.pexpire(dueKeys(SHARD).turn, 1);
  await expect.poll(() => redis.exists(dueKeys(SHARD).turn), { interval: 2 }).toBe(0);
  expect(await tickOnce(portsOf('next'), SHARD, never)).toBe('done');
  expect(addedIds()).toEqual(ids);
  hung.resolve(0);
  await tick;
});

test('who lost its turn midway leaves the rest to the one who has it', async () => {
  await putDue(2 * claimMailboxesMax, SHARD);
  const queues: TickPorts['queues'] = {
    countWaiting: async () => 0,
    async add(_, mailboxes) {
      added.push(...mailboxes);
      await redis.set(dueKeys(SHARD).turn, 'other');
    },
  };
  expect(await tickOnce(portsOf('late', { queues }), SHARD, never)).toBe('not our turn');
  expect(added).toHaveLength(claimMailboxesMax);
  expect(await redis.get(dueKeys(SHARD).turn)).toBe('other');
});

test.each<[how: string, die: () => Promise<void>]>([
  ['fails', () => Promise.reject(new Error('killed'))],
  ['never ends', () => new Promise(() => {})],
])('a ticker that dies between claim and add, as the add %s, loses nothing', async (_, die) => {
  const ids = await putDue(30, SHARD);
  const reached = Promise.withResolvers<void>();
  const queues: TickPorts['queues'] = {
    countWaiting: async () => 0,
    add() {
      reached.resolve();
      return die();
    },
  };
  tickOnce(portsOf('dead', { queues }), SHARD, never).catch(() => undefined);
  await reached.promise;
  nowMs += claimMs - 1;
  await tickAfterRest('next');
  expect(added).toEqual([]);
  nowMs += 1;
  await tickAfterRest('next');
  expect(addedIds()).toEqual(ids);
});

test('a ticker goes on by itself after a fault of ours, and when Redis comes back', async () => {
  let faults = 0;
  const ports = portsOf('a');
  start('a', {
    queues: {
      countWaiting: ports.queues.countWaiting,
      async add(shard, mailboxes) {
        if ((faults += 1) <= mailboxShards) throw new Error('out of order');
        await ports.queues.add(shard, mailboxes);
      },
    },
  });
  const ids = await putDue(100);
  await expect.poll(() => faults, { timeout: WAIT_MS, interval: 10 }).toBeGreaterThanOrEqual(mailboxShards);
  // The AOF is synced every second, so a kill may take the last one: a clean end does not.
  await server.kill('SIGTERM');
  await server.restart();
  nowMs += claimMs;
  await expect.poll(() => added.length, { timeout: WAIT_MS, interval: 10 }).toBeGreaterThanOrEqual(ids.length);
  expect(addedIds()).toEqual(ids);
});

test('close waits for the batch that is under way, and starts no other', async () => {
  await putDue(2 * claimMailboxesMax, SHARD);
  const adding = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const ticker = startTicker(
    portsOf('a', {
      queues: {
        countWaiting: async () => 0,
        async add(_, mailboxes) {
          adding.resolve();
          await gate.promise;
          added.push(...mailboxes);
        },
      },
    }),
  );
  await adding.promise;
  const closed = ticker.close();
  gate.resolve();
  await closed;
  expect(added).toHaveLength(claimMailboxesMax);
  expect(await redis.pttl(dueKeys(SHARD).turn)).toBeLessThan(1_000);
});
