import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DueMailbox } from '../../src/fetch/due-index.ts';
import { jobStartsMax, jobStallsMax, mailboxShards } from '../../src/fetch/limits.ts';
import { createMailboxQueues, MAILBOX_QUEUES, type MailboxQueues } from '../../src/fetch/mailbox-queues.ts';
import { shardOf } from '../../src/fetch/shard.ts';
import type { MailboxRef } from '../../src/mailbox/mailbox.ts';
import { createFetchWorker, type FetchWorker, type FetchWorkerOptions } from '../../src/fetch/worker.ts';
import { isRedisUnavailable, openBlockingRedis, openRedis } from '../../src/redis/connection.ts';
import { queuePrefix } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const WAIT_MS = 20_000;
const logger = pino({ level: 'silent' });
const DUE: DueMailbox = { tenant: 'default', mailbox: 'mbx_1', dueMs: Date.now() - 5_000 };
const REF: MailboxRef = { tenant: 'default', mailbox: 'mbx_1' };
const SHARD = shardOf(DUE.mailbox);
const QUEUE = MAILBOX_QUEUES[SHARD]!;
const QUEUE_KEY = `${queuePrefix(QUEUE)}:${QUEUE}`;
const JOB_KEY = `${QUEUE_KEY}:${DUE.tenant}/${DUE.mailbox}`;

let server: TestRedis;
let redis: Redis;
let queues: MailboxQueues;
let runs: MailboxRef[];
let cleanups: (() => unknown)[];

beforeEach(async () => {
  cleanups = [];
  runs = [];
  server = await startRedis();
  cleanups.push(() => server.close());
  redis = openRedis(server.url, logger);
  await redis.connect();
  cleanups.push(() => redis.disconnect());
  queues = await createMailboxQueues(redis, logger);
  cleanups.push(() => queues.close());
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

async function startWorker(over: Partial<FetchWorkerOptions<MailboxRef>> = {}): Promise<FetchWorker> {
  const blocking = openBlockingRedis(server.url, logger);
  const worker = await createFetchWorker<MailboxRef>({
    queues: MAILBOX_QUEUES,
    blocking,
    concurrency: 20,
    async run(ref) {
      runs.push(ref);
      return null;
    },
    abandon: async () => undefined,
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

const countRuns = (): number => runs.length;
const jobIsGone = (): Promise<number> => redis.exists(JOB_KEY);

async function addMany(count: number): Promise<string[]> {
  const mailboxes = Array.from({ length: count }, (_, number): DueMailbox => ({ ...DUE, mailbox: `mbx_${number}` }));
  const shards = Map.groupBy(mailboxes, ({ mailbox }) => shardOf(mailbox));
  for (const [shard, group] of shards) await queues.add(shard, group);
  expect(shards.size).toBe(mailboxShards);
  return mailboxes.map(({ mailbox }) => mailbox).toSorted();
}

test('one worker runs the mailboxes of all shards', async () => {
  const ids = await addMany(200);
  await startWorker();
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(ids.length);
  expect(runs.map(({ mailbox }) => mailbox).toSorted()).toEqual(ids);
});

test('a job holds ids only, and its time is when the mailbox was due', async () => {
  await queues.add(SHARD, [DUE]);
  const job = await redis.hgetall(JOB_KEY);
  expect(JSON.parse(job['data'] ?? '')).toEqual(REF);
  expect(Number(job['timestamp'])).toBe(DUE.dueMs);
  const lags: number[] = [];
  await startWorker({ clock: { now: () => DUE.dueMs + 1_234 }, observeLag: (lagMs) => lags.push(lagMs) });
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(1);
  expect(lags).toEqual([1_234]);
});

test('a mailbox is queued once, be it added again while it waits, runs, or is put off', async () => {
  const running = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  await queues.add(SHARD, [DUE]);
  await queues.add(SHARD, [DUE, DUE]);
  expect(await queues.countWaiting(SHARD)).toBe(1);
  await startWorker({
    async run(ref) {
      runs.push(ref);
      running.resolve();
      await gate.promise;
      return { delayMs: 3_600_000 };
    },
  });
  await running.promise;
  await queues.add(SHARD, [DUE]);
  expect(await queues.countWaiting(SHARD)).toBe(0);
  gate.resolve();
  await expect.poll(() => redis.zcard(`${QUEUE_KEY}:delayed`), { timeout: WAIT_MS, interval: 10 }).toBe(1);
  await queues.add(SHARD, [DUE]);
  expect(await queues.countWaiting(SHARD)).toBe(0);
  expect(runs).toEqual([REF]);
});

test('when its run has ended, well or not, nothing of the job is left, and the mailbox can be queued again', async () => {
  const ends: (() => Promise<null>)[] = [
    async () => null,
    // The queue gives up at the first fault: the test need not wait for a thousand.
    () => Promise.reject(Object.assign(new Error('broken'), { name: 'UnrecoverableError' })),
    async () => null,
  ];
  await startWorker({
    run(ref) {
      runs.push(ref);
      return ends[runs.length - 1]!();
    },
  });
  for (let round = 1; round <= ends.length; round += 1) {
    await queues.add(SHARD, [DUE]);
    await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(round);
    await expect.poll(jobIsGone, { timeout: WAIT_MS, interval: 10 }).toBe(0);
  }
  for (const list of ['completed', 'failed']) expect(await redis.zcard(`${QUEUE_KEY}:${list}`)).toBe(0);
});

test('what a run puts off runs again after the pause, and is no new job', async () => {
  const lags: number[] = [];
  await startWorker({
    async run(ref) {
      runs.push(ref);
      return runs.length < 3 ? { delayMs: 5 } : null;
    },
    observeLag: (lagMs) => lags.push(lagMs),
  });
  await queues.add(SHARD, [DUE]);
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(3);
  await expect.poll(jobIsGone, { timeout: WAIT_MS, interval: 10 }).toBe(0);
  expect(lags).toHaveLength(1);
});

test.each([
  ['was taken up too often', { ats: jobStartsMax }],
  ['has killed too many workers', { defa: 'job stalled more than allowable limit', stc: jobStallsMax }],
])('a mailbox that %s is given up once, without a run, and can be queued again', async (_, state) => {
  const abandoned: MailboxRef[] = [];
  await queues.add(SHARD, [DUE]);
  await redis.hset(JOB_KEY, state);
  await startWorker({ abandon: async (ref) => void abandoned.push(ref) });
  await expect.poll(() => abandoned, { timeout: WAIT_MS, interval: 10 }).toEqual([REF]);
  expect(runs).toEqual([]);
  await expect.poll(jobIsGone, { timeout: WAIT_MS, interval: 10 }).toBe(0);
  await queues.add(SHARD, [DUE]);
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(1);
});

test('a mailbox that is removed before it runs does not run', async () => {
  await addMany(100);
  await queues.remove(REF);
  await queues.remove({ tenant: 'default', mailbox: 'mbx_unknown' });
  await startWorker();
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(99);
  expect(runs).not.toContainEqual(REF);
});

test('a worker runs no more at once than it may, and of each shard one at least', async () => {
  const gate = Promise.withResolvers<void>();
  cleanups.push(() => gate.resolve());
  const active = async (): Promise<number> => {
    const lengths = await Promise.all(MAILBOX_QUEUES.map((name) => redis.llen(`${queuePrefix(name)}:${name}:active`)));
    return lengths.reduce((sum, length) => sum + length, 0);
  };
  const hang = async (ref: MailboxRef): Promise<null> => {
    runs.push(ref);
    await gate.promise;
    return null;
  };
  await addMany(400);
  await startWorker({ concurrency: 21, run: hang });
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(21);
  expect(await active()).toBe(21);
  await startWorker({ concurrency: 1, run: hang });
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(21 + mailboxShards);
  expect(await active()).toBe(21 + mailboxShards);
});

test('a worker costs a connection for each shard, and one; the queues cost none', async () => {
  const connections = async (): Promise<number> =>
    Number(/connected_clients:(\d+)/.exec(await redis.info('clients'))?.[1]);
  await queues.add(SHARD, [DUE]);
  expect(await connections()).toBe(1);
  await startWorker();
  await expect.poll(connections, { timeout: WAIT_MS, interval: 10 }).toBe(1 + mailboxShards + 1);
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(1);
  expect(await connections()).toBe(1 + mailboxShards + 1);
});

test('workers go on by themselves when Redis comes back, and so do the queues', async () => {
  await startWorker();
  await queues.add(SHARD, [DUE]);
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(1);
  await server.kill('SIGTERM');
  await expect(queues.add(SHARD, [DUE])).rejects.toSatisfy(isRedisUnavailable);
  await server.restart();
  const add = () =>
    queues.add(SHARD, [DUE, { ...DUE, mailbox: 'mbx_2' }]).then(
      () => true,
      () => false,
    );
  await expect.poll(add, { timeout: WAIT_MS, interval: 20 }).toBe(true);
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 20 }).toBeGreaterThanOrEqual(3);
});

test('close ends within its grace, interrupts what runs, and leaves it to another worker', async () => {
  const running = Promise.withResolvers<void>();
  const worker = await startWorker({
    run(_, { windUp, cut }) {
      running.resolve();
      cut.addEventListener('abort', () => expect(windUp.aborted, 'it was asked before').toBe(true));
      return new Promise((resolve) => cut.addEventListener('abort', () => resolve({ delayMs: 0 })));
    },
  });
  await queues.add(SHARD, [DUE]);
  await running.promise;
  expect(worker.isRunning()).toBe(true);
  await worker.close(200);
  expect(worker.isRunning()).toBe(false);
  await startWorker();
  await expect.poll(countRuns, { timeout: WAIT_MS, interval: 10 }).toBe(1);
});
